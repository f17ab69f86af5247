//! Close codes (RFC 6455 7.4) and the payload of a close frame (5.5.1).
//!
//! Owns which codes may stand on the wire. What our own codes (4400 and up) mean is the error
//! table's concern.

use thiserror::Error;

use crate::protocol::websocket::header::CONTROL_BYTES_MAX;

/// Longest reason: a control frame less the two bytes of the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// A code that may stand in a close frame; named here are those that the transport itself uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The peer broke RFC 6455.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of data that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message over the limit.
    pub const TOO_BIG: Self = Self(1009);

    /// A code known when the program is built; in a `const` a wrong one does not compile.
    ///
    /// # Panics
    /// If no endpoint may send `code`.
    pub const fn new(code: u16) -> Self {
        assert!(may_be_sent(code), "no endpoint may send this close code");
        Self(code)
    }

    /// The number on the wire: 1000-1003, 1007-1014 or 3000-4999.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What a close frame says about why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason<'a> {
    /// Why, for programs.
    pub code: CloseCode,
    /// Why, for people; at most 123 bytes, often empty.
    pub reason: &'a str,
}

/// A close frame that no conforming peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseError {
    /// One byte cannot be a code.
    #[error("a close frame carries half a code")]
    HalfCode,
    /// The code is reserved, or only for local use (1005, 1006, 1015).
    #[error("close code {0} must not be sent")]
    InvalidCode(u16),
    /// The reason is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    InvalidReason(#[source] std::str::Utf8Error),
}

/// Reads the unmasked payload of a close frame; an empty one gives no reason.
///
/// # Errors
/// If the payload is neither empty nor a valid code with a UTF-8 reason.
pub fn parse(payload: &[u8]) -> Result<Option<CloseReason<'_>>, CloseError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(CloseError::HalfCode)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(CloseError::InvalidCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(CloseError::InvalidReason)?;
    Ok(Some(CloseReason {
        code: CloseCode(code),
        reason,
    }))
}

/// 7.4.2 and the IANA registry of close codes, which went on to 1014 after the RFC.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::{CloseCode, CloseError, CloseReason, parse};

    #[test]
    fn empty_payload_gives_no_reason() {
        assert_eq!(parse(b""), Ok(None));
    }

    #[test]
    fn code_and_reason_are_read() {
        let reason = CloseReason {
            code: CloseCode::new(4401),
            reason: "再见",
        };
        assert_eq!(parse("\x11\x31再见".as_bytes()), Ok(Some(reason)));
    }

    #[test]
    fn half_a_code_is_refused() {
        assert_eq!(parse(b"\x03"), Err(CloseError::HalfCode));
    }

    #[test]
    fn reserved_codes_are_refused() {
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
        ] {
            assert_eq!(
                parse(&u16::to_be_bytes(code)),
                Err(CloseError::InvalidCode(code))
            );
        }
    }

    #[test]
    fn every_sendable_code_is_taken() {
        for code in (1000..=1003_u16).chain(1007..=1014).chain(3000..=4999) {
            let payload = code.to_be_bytes();
            let parsed = parse(&payload).unwrap().unwrap();
            assert_eq!(parsed.code.get(), code);
        }
    }

    #[test]
    fn reason_that_is_not_utf8_is_refused() {
        assert!(matches!(
            parse(b"\x03\xe8\xff"),
            Err(CloseError::InvalidReason(_))
        ));
    }
}
