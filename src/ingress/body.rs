//! The body of a request, read within a byte limit and a deadline before anything looks at it.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt as _, pin_mut};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::protocol::client::FRAME_BYTES_MAX;
use crate::protocol::code::ErrorCode;

/// The longest body, in bytes: what a frame may hold, so that the longest text fits in any
/// escaping, and room for what a frame does not carry.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX + 4 * 1024;

/// Collects a body.
///
/// # Errors
/// `too_large` as soon as it is longer than [`BODY_BYTES_MAX`]; `bad_request` when it does not
/// arrive within `deadline`, or not whole.
pub async fn read<B: Buf>(
    chunks: impl Stream<Item = std::result::Result<B, warp::Error>>,
    deadline: Duration,
) -> Result<Bytes> {
    match timeout(deadline, collect(chunks)).await {
        Ok(body) => body,
        Err(_) => Err(Error::new(
            ErrorCode::BadRequest,
            "the body took too long to arrive",
        )),
    }
}

async fn collect<B: Buf>(
    chunks: impl Stream<Item = std::result::Result<B, warp::Error>>,
) -> Result<Bytes> {
    pin_mut!(chunks);
    let mut body = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let mut chunk = chunk.map_err(|error| Error {
            source: Some(error.into()),
            ..Error::new(ErrorCode::BadRequest, "the body did not arrive whole")
        })?;
        if body.len() + chunk.remaining() > BODY_BYTES_MAX {
            let detail = format!("a body holds at most {BODY_BYTES_MAX} bytes");
            return Err(Error::new(ErrorCode::TooLarge, detail));
        }
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    Ok(body.freeze())
}
