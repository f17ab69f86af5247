//! The one data message of a connection that has not yet arrived whole.
//!
//! Owns the rules between data frames (RFC 6455 5.4), the limits and the UTF-8 check. Unmasked
//! payload flows in piece by piece, a whole message flows out. It holds memory only between the
//! first and the last piece, and never more than twice what the client really sent.

use std::{borrow::Cow, mem};

use crate::{
    ingress::socket::fault::ProtocolError,
    protocol::websocket::header::{Header, Opcode},
};

/// What a client may send in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes of payload, over all its fragments.
    pub message_bytes_max: u32,
    /// Most frames of one message: empty fragments cost the client 6 bytes and would never end.
    pub fragments_max: u32,
    /// Refuse binary messages.
    pub text_only: bool,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) kind: Kind,
    /// Borrowed unless the message came in several pieces.
    pub(super) bytes: Cow<'a, [u8]>,
}

/// The unfinished message; `kind` is `None` between messages.
#[derive(Debug)]
pub(super) struct Message {
    /// Unmasked payload so far. Grows with what arrives, not with what a header announces.
    bytes: Vec<u8>,
    limits: Limits,
    kind: Option<Kind>,
    /// Bytes that the frames so far announced, at most `message_bytes_max`.
    announced_bytes: u32,
    /// Frames so far, at most `fragments_max`.
    fragments: u32,
    /// Bytes at the end of a text that begin a character, 0-3; all before them are UTF-8.
    begun_char_bytes: u8,
}

impl Message {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            bytes: Vec::new(),
            limits,
            kind: None,
            announced_bytes: 0,
            fragments: 0,
            begun_char_bytes: 0,
        }
    }

    /// Bytes held, at most `message_bytes_max`.
    pub(super) const fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was begun and frees it.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Takes the header of a data frame and returns its payload length.
    ///
    /// # Errors
    /// If the frame may not stand here, or would exceed a limit.
    pub(super) fn begin_frame(&mut self, header: &Header) -> Result<u32, ProtocolError> {
        self.kind = Some(self.kind_after(header.opcode)?);
        self.fragments += 1;
        if self.fragments > self.limits.fragments_max {
            return Err(ProtocolError::TooManyFragments(self.limits.fragments_max));
        }
        self.announce(header.payload_bytes)
    }

    /// Takes the next piece of payload; with `last` the message is whole and is returned, borrowed
    /// from `piece` itself when nothing came before it. A whole text is not yet known to be UTF-8.
    ///
    /// # Errors
    /// If a text that is not whole cannot become UTF-8 any more.
    pub(super) fn take<'a>(
        &mut self,
        piece: &'a [u8],
        last: bool,
    ) -> Result<Option<Whole<'a>>, ProtocolError> {
        let Some(kind) = self.kind else {
            return Err(ProtocolError::NothingToContinue);
        };
        if !last {
            self.keep(piece, kind)?;
            return Ok(None);
        }
        let mut held = mem::take(&mut self.bytes);
        self.clear();
        if held.is_empty() {
            return Ok(Some(Whole {
                kind,
                bytes: Cow::Borrowed(piece),
            }));
        }
        held.extend_from_slice(piece);
        Ok(Some(Whole {
            kind,
            bytes: Cow::Owned(held),
        }))
    }

    fn kind_after(&self, opcode: Opcode) -> Result<Kind, ProtocolError> {
        match (self.kind, opcode) {
            (Some(kind), Opcode::Continuation) => Ok(kind),
            (None, Opcode::Text) => Ok(Kind::Text),
            (None, Opcode::Binary) if self.limits.text_only => Err(ProtocolError::BinaryRefused),
            (None, Opcode::Binary) => Ok(Kind::Binary),
            (Some(_), Opcode::Text | Opcode::Binary) => Err(ProtocolError::MessageInsideMessage),
            (None, Opcode::Continuation) | (_, Opcode::Close | Opcode::Ping | Opcode::Pong) => {
                Err(ProtocolError::NothingToContinue)
            }
        }
    }

    fn announce(&mut self, payload_bytes: u64) -> Result<u32, ProtocolError> {
        let max = self.limits.message_bytes_max;
        let total = u64::from(self.announced_bytes).saturating_add(payload_bytes);
        match (u32::try_from(payload_bytes), u32::try_from(total)) {
            (Ok(payload_bytes), Ok(total)) if total <= max => {
                self.announced_bytes = total;
                Ok(payload_bytes)
            }
            _ => Err(ProtocolError::MessageTooBig(max)),
        }
    }

    fn keep(&mut self, piece: &[u8], kind: Kind) -> Result<(), ProtocolError> {
        let unchecked_from = self.bytes.len() - usize::from(self.begun_char_bytes);
        self.bytes.extend_from_slice(piece);
        match kind {
            Kind::Text => self.check_text(unchecked_from),
            Kind::Binary => Ok(()),
        }
    }

    /// Looks only at what is new and at the character it may complete, so that the work stays
    /// linear however small the pieces are.
    fn check_text(&mut self, from: usize) -> Result<(), ProtocolError> {
        let unchecked = &self.bytes[from..];
        let begun = match std::str::from_utf8(unchecked) {
            Ok(_) => 0,
            Err(error) if error.error_len().is_some() => {
                return Err(ProtocolError::InvalidText(error));
            }
            Err(error) => unchecked.len() - error.valid_up_to(),
        };
        self.begun_char_bytes = u8::try_from(begun).expect("a character has at most 4 bytes");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{Kind, Limits, Message, Whole};
    use crate::{
        ingress::socket::fault::ProtocolError,
        protocol::websocket::header::{Header, Opcode},
    };

    const LIMITS: Limits = Limits {
        message_bytes_max: 1000,
        fragments_max: 3,
        text_only: true,
    };

    fn header(opcode: Opcode, payload_bytes: u64) -> Header {
        Header {
            fin: false,
            opcode,
            mask: None,
            payload_bytes,
        }
    }

    fn begun(payload_bytes: u64) -> Message {
        let mut message = Message::new(LIMITS);
        message
            .begin_frame(&header(Opcode::Text, payload_bytes))
            .unwrap();
        message
    }

    #[test]
    fn whole_message_is_borrowed() {
        let whole = begun(2).take(b"hi", true).unwrap().unwrap();
        assert!(matches!(
            whole,
            Whole {
                kind: Kind::Text,
                bytes: Cow::Borrowed(b"hi")
            }
        ));
    }

    #[test]
    fn nothing_is_held_after_the_last_piece() {
        let mut message = begun(4);
        assert!(message.take(b"ab", false).unwrap().is_none());
        assert_eq!(message.held_bytes(), 2);
        let whole = message.take(b"cd", true).unwrap().unwrap();
        assert_eq!(*whole.bytes, *b"abcd");
        assert_eq!((message.held_bytes(), message.bytes.capacity()), (0, 0));
    }

    #[test]
    fn announced_length_reserves_nothing() {
        assert_eq!(begun(1000).bytes.capacity(), 0);
    }

    #[test]
    fn limit_counts_all_fragments_before_their_payload() {
        let mut message = begun(600);
        let too_big = message.begin_frame(&header(Opcode::Continuation, 401));
        assert_eq!(too_big, Err(ProtocolError::MessageTooBig(1000)));
    }

    #[test]
    fn greatest_length_does_not_overflow() {
        let mut message = begun(1);
        let too_big = message.begin_frame(&header(Opcode::Continuation, u64::MAX));
        assert_eq!(too_big, Err(ProtocolError::MessageTooBig(1000)));
    }

    #[test]
    fn empty_fragments_are_counted() {
        let mut message = begun(0);
        let next = header(Opcode::Continuation, 0);
        assert_eq!(
            (message.begin_frame(&next), message.begin_frame(&next)),
            (Ok(0), Ok(0))
        );
        assert_eq!(
            message.begin_frame(&next),
            Err(ProtocolError::TooManyFragments(3))
        );
    }

    #[test]
    fn text_fails_at_the_byte_that_spoils_it() {
        let mut message = begun(1000);
        assert!(message.take("群".as_bytes(), false).is_ok());
        assert!(message.take(b"\xf4", false).is_ok());
        let spoilt = message.take(b"\x90", false);
        assert!(matches!(spoilt, Err(ProtocolError::InvalidText(_))));
    }

    #[test]
    fn character_may_arrive_byte_by_byte() {
        let mut message = begun(1000);
        for byte in "流".as_bytes() {
            assert!(message.take(&[*byte], false).is_ok());
        }
        assert_eq!(message.begun_char_bytes, 0);
    }
}
