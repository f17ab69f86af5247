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

/// How much of a longer body is read and dropped. A client that is still sending when the
/// connection closes never reads the answer that says why.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// Collects a body.
///
/// # Errors
/// `too_large` for one longer than [`BODY_BYTES_MAX`], of which no more is kept; `bad_request`
/// when it does not arrive within `deadline`, or not whole.
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
    let mut arrived = 0;
    while let Some(chunk) = chunks.next().await {
        let mut chunk = chunk.map_err(|error| Error {
            source: Some(error.into()),
            ..Error::new(ErrorCode::BadRequest, "the body did not arrive whole")
        })?;
        arrived += chunk.remaining();
        if arrived > BODY_BYTES_MAX + DISCARDED_BYTES_MAX {
            break;
        }
        if arrived <= BODY_BYTES_MAX {
            body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
        }
    }
    if arrived > BODY_BYTES_MAX {
        let detail = format!("a body holds at most {BODY_BYTES_MAX} bytes");
        return Err(Error::new(ErrorCode::TooLarge, detail));
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(sizes: Vec<usize>) -> impl Stream<Item = std::result::Result<Bytes, warp::Error>> {
        futures::stream::iter(sizes).map(|size| Ok(Bytes::from(vec![b'a'; size])))
    }

    async fn read_all(sizes: Vec<usize>) -> Result<Bytes> {
        read(chunks(sizes), Duration::from_secs(1)).await
    }

    #[tokio::test]
    async fn a_body_is_kept_up_to_its_limit_and_no_further() {
        let whole = read_all(vec![1, BODY_BYTES_MAX - 1]).await.unwrap();
        assert_eq!(whole.len(), BODY_BYTES_MAX);
        let refused = read_all(vec![BODY_BYTES_MAX, 1]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge);
        let endless = chunks(vec![DISCARDED_BYTES_MAX; 3]).chain(futures::stream::pending());
        let refused = read(endless, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_given_up_at_the_deadline() {
        let stuck = chunks(vec![10]).chain(futures::stream::pending());
        let refused = read(stuck, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
    }
}
