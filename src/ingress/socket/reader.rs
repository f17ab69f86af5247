//! Bytes from the socket into the decoder.
//!
//! Works on any stream, plain or TLS. The future holds no buffer while it waits; it borrows the
//! scratch buffer of the thread for one read and the decoding of what was read.

use std::{future::poll_fn, io, pin::Pin, task::Poll, task::ready};

use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};

use crate::ingress::socket::{
    decoder::{Decoder, Item},
    fault::ProtocolError,
    scratch,
};

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The client ended the stream; without a close frame before, the connection was lost.
    #[error("the client ended the stream")]
    Ended,
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] io::Error),
    /// The client broke the protocol: fail the connection with [`ProtocolError::close_code`].
    #[error("the client broke the protocol")]
    Protocol(#[from] ProtocolError),
}

/// Waits until bytes arrive, reads once (at most 64 KiB) and hands on each item they complete,
/// which may be none. `on_item` runs while the thread's buffer is lent, so it cannot wait: let it
/// collect.
///
/// Cancel safe: dropped while it waits, it has read nothing.
///
/// # Errors
/// When the stream ends, fails, or the client breaks the protocol; items before that were handed
/// on.
pub async fn read<R: AsyncRead + Unpin>(
    stream: &mut R,
    decoder: &mut Decoder,
    mut on_item: impl FnMut(Item<'_>),
) -> Result<(), ReadError> {
    poll_fn(|cx| {
        scratch::with(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            let chunk = buffer.filled_mut();
            Poll::Ready(match chunk.is_empty() {
                true => Err(ReadError::Ended),
                false => Ok(decoder.feed(chunk, &mut on_item)?),
            })
        })
    })
    .await
}
