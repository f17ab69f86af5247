//! The one frame that is arriving: its header while it is cut, then what is left of its payload.

use crate::{
    ingress::socket::fault::ProtocolError,
    protocol::websocket::{
        header::{HEADER_BYTES_MAX, Header, Opcode},
        mask,
    },
};

/// The start of a header that was cut by the end of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl PartialHeader {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; HEADER_BYTES_MAX],
            len: 0,
        }
    }

    /// The header and how many bytes of `chunk` belong to it; `None` when all of `chunk` was kept
    /// because the header goes on after it.
    ///
    /// # Errors
    /// If no valid header begins with these bytes.
    pub(super) fn complete(
        &mut self,
        chunk: &[u8],
    ) -> Result<Option<(Header, usize)>, ProtocolError> {
        if self.len == 0
            && let Some(parsed) = Header::parse(chunk)?
        {
            return Ok(Some(parsed));
        }
        let held = usize::from(self.len);
        for (to, from) in self.bytes[held..].iter_mut().zip(chunk) {
            *to = *from;
            self.len += 1;
        }
        let parsed = Header::parse(&self.bytes[..usize::from(self.len)])?;
        Ok(parsed.map(|(header, header_bytes)| (header, header_bytes - held)))
    }
}

/// The frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Turned to fit the next byte of payload.
    pub(super) mask: [u8; 4],
    /// Bytes of payload still to come.
    pub(super) remaining: u32,
}

impl Frame {
    /// Unmasks what `chunk` holds of this frame; returns it and what lies behind it.
    pub(super) fn split<'a>(&mut self, chunk: &'a mut [u8]) -> (&'a [u8], &'a mut [u8]) {
        let present = u32::try_from(chunk.len())
            .unwrap_or(u32::MAX)
            .min(self.remaining);
        let at = usize::try_from(present).expect("at most the length of the chunk");
        let (piece, rest) = chunk.split_at_mut(at);
        self.mask = mask::apply(piece, self.mask);
        self.remaining -= present;
        (piece, rest)
    }
}
