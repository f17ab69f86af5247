//! How a client can break RFC 6455 or our limits, and the close code that tells it so.

use std::str::Utf8Error;

use thiserror::Error;

use crate::protocol::websocket::{
    close::{CloseCode, CloseError},
    header::HeaderError,
};

/// Why a connection must be failed (RFC 6455 7.1.7). Nothing that follows it on the wire can be
/// read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The header itself is not valid.
    #[error("malformed frame header")]
    Header(#[from] HeaderError),
    /// Clients mask every frame (5.1).
    #[error("a frame from the client is not masked")]
    Unmasked,
    /// A continuation frame without a message to continue.
    #[error("a continuation frame continues nothing")]
    NothingToContinue,
    /// A new message began before the fragmented one ended (5.4).
    #[error("a message began inside a fragmented one")]
    MessageInsideMessage,
    /// The payload of a close frame is not valid.
    #[error("malformed close frame")]
    Close(#[from] CloseError),
    /// Text is not UTF-8 (8.1); found at the first byte that cannot become valid any more.
    #[error("text is not UTF-8")]
    InvalidText(#[source] Utf8Error),
    /// This endpoint takes text only.
    #[error("binary messages are not taken here")]
    BinaryRefused,
    /// The message is longer than the limit; found by its header, before any payload is kept.
    #[error("the message is over the limit of {0} bytes")]
    MessageTooBig(u32),
    /// The message has more fragments than the limit.
    #[error("the message is in more than {0} fragments")]
    TooManyFragments(u32),
}

impl ProtocolError {
    /// The code for the close frame (7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Header(_)
            | Self::Unmasked
            | Self::NothingToContinue
            | Self::MessageInsideMessage
            | Self::Close(CloseError::HalfCode | CloseError::InvalidCode(_)) => CloseCode::PROTOCOL,
            Self::Close(CloseError::InvalidReason(_)) | Self::InvalidText(_) => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::BinaryRefused => CloseCode::UNSUPPORTED,
            Self::MessageTooBig(_) | Self::TooManyFragments(_) => CloseCode::TOO_BIG,
        }
    }
}
