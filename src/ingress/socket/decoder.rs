//! The decoder of one connection: bytes from the client into items, without I/O.
//!
//! Chunks of any size flow in, are unmasked in place, and flow out as [`Item`]s that borrow from
//! them. A frame that lies whole in its chunk is never copied. Between frames a decoder holds no
//! memory but itself. It enforces RFC 6455 and the limits; it never answers, and never reads
//! further after a close frame or a fault.

use crate::{
    ingress::socket::{
        fault::ProtocolError,
        frame::{Frame, PartialHeader},
        message::{Kind, Message},
    },
    protocol::websocket::{
        close::{self, CloseReason},
        header::{Header, Opcode},
    },
};

pub use crate::ingress::socket::message::Limits;

/// What the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message; never with [`Limits::text_only`].
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload (RFC 6455 5.5.2).
    Ping(&'a [u8]),
    /// A sign of life.
    Pong(&'a [u8]),
    /// To be answered by a close frame with the same reason; nothing follows it.
    Close(Option<CloseReason<'a>>),
}

/// Where the decoder stands in the stream of one connection.
#[derive(Debug)]
pub struct Decoder {
    message: Message,
    /// Payload of a control frame that lies in several chunks; at most 125 bytes, freed at its end.
    control: Vec<u8>,
    stage: Stage,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Header(PartialHeader),
    Payload(Frame),
    /// After a close frame or a fault: whatever comes is ignored.
    Ended,
}

/// The part of a chunk that was not used.
type Rest<'a> = &'a mut [u8];

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new(limits: Limits) -> Self {
        Self {
            message: Message::new(limits),
            control: Vec::new(),
            stage: Stage::Header(PartialHeader::new()),
        }
    }

    /// Bytes kept of a message that is not yet whole; at most `message_bytes_max` + 125.
    pub const fn held_bytes(&self) -> usize {
        self.message.held_bytes() + self.control.len()
    }

    /// Decodes the next bytes of the stream and calls `on_item` for each item that they complete.
    /// `chunk` is unmasked in place; its content is of no use afterwards.
    ///
    /// # Errors
    /// When the client breaks the protocol or a limit. Items before the fault were handed out;
    /// later bytes are ignored.
    pub fn feed(
        &mut self,
        chunk: &mut [u8],
        mut on_item: impl FnMut(Item<'_>),
    ) -> Result<(), ProtocolError> {
        let decoded = self.decode(chunk, &mut on_item);
        if decoded.is_err() {
            self.end();
        }
        decoded
    }

    fn decode(
        &mut self,
        mut chunk: Rest<'_>,
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ProtocolError> {
        loop {
            chunk = match self.stage {
                Stage::Header(_) if chunk.is_empty() => return Ok(()),
                Stage::Header(partial) => self.take_header(partial, chunk)?,
                Stage::Payload(frame) if chunk.is_empty() && frame.remaining > 0 => return Ok(()),
                Stage::Payload(frame) => self.take_payload(frame, chunk, on_item)?,
                Stage::Ended => return Ok(()),
            };
        }
    }

    fn take_header<'a>(
        &mut self,
        mut partial: PartialHeader,
        chunk: Rest<'a>,
    ) -> Result<Rest<'a>, ProtocolError> {
        let Some((header, used)) = partial.complete(chunk)? else {
            self.stage = Stage::Header(partial);
            return Ok(&mut []);
        };
        self.stage = Stage::Payload(self.begin_frame(&header)?);
        Ok(&mut chunk[used..])
    }

    fn begin_frame(&mut self, header: &Header) -> Result<Frame, ProtocolError> {
        let mask = header.mask.ok_or(ProtocolError::Unmasked)?;
        let remaining = if header.opcode.is_control() {
            u32::try_from(header.payload_bytes)
                .expect("Header::parse refuses longer control frames")
        } else {
            self.message.begin_frame(header)?
        };
        Ok(Frame {
            fin: header.fin,
            opcode: header.opcode,
            mask,
            remaining,
        })
    }

    fn take_payload<'a>(
        &mut self,
        mut frame: Frame,
        chunk: Rest<'a>,
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<Rest<'a>, ProtocolError> {
        let (piece, rest) = frame.split(chunk);
        self.stage = if frame.remaining == 0 {
            Stage::Header(PartialHeader::new())
        } else {
            Stage::Payload(frame)
        };
        if frame.opcode.is_control() {
            self.take_control(frame, piece, on_item)?;
        } else {
            self.take_data(frame, piece, on_item)?;
        }
        Ok(rest)
    }

    fn take_data(
        &mut self,
        frame: Frame,
        piece: &[u8],
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ProtocolError> {
        let last = frame.fin && frame.remaining == 0;
        let Some(whole) = self.message.take(piece, last)? else {
            return Ok(());
        };
        match whole.kind {
            Kind::Text => {
                let text = str::from_utf8(&whole.bytes).map_err(ProtocolError::InvalidText)?;
                on_item(Item::Text(text));
            }
            Kind::Binary => on_item(Item::Binary(&whole.bytes)),
        }
        Ok(())
    }

    fn take_control(
        &mut self,
        frame: Frame,
        piece: &[u8],
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ProtocolError> {
        if frame.remaining > 0 {
            self.control.extend_from_slice(piece);
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.control);
        if held.is_empty() {
            return self.emit_control(frame.opcode, piece, on_item);
        }
        held.extend_from_slice(piece);
        self.emit_control(frame.opcode, &held, on_item)
    }

    fn emit_control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<(), ProtocolError> {
        match opcode {
            Opcode::Ping => on_item(Item::Ping(payload)),
            Opcode::Pong => on_item(Item::Pong(payload)),
            Opcode::Close => {
                self.end();
                on_item(Item::Close(close::parse(payload)?));
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
        }
        Ok(())
    }

    fn end(&mut self) {
        self.message.clear();
        self.control = Vec::new();
        self.stage = Stage::Ended;
    }
}

#[cfg(test)]
mod tests;
