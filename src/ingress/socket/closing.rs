//! The end of a connection that loses no byte.
//!
//! A socket dropped with unread input makes the kernel send a reset, and a reset makes the client's
//! kernel throw away what it had received: the close frame with the reason, and messages before it.
//! So we send our end of the stream first, and read the client's to its end (RFC 6455 7.1.1).

use std::{future::poll_fn, io, pin::Pin, task::Poll, task::ready, time::Duration};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::timeout,
};

use crate::{egress::send_queue::SendQueue, ingress::socket::scratch};

/// Call after [`SendQueue::close`]: delivers what is queued, then discards input until the client
/// ends its side. What is not over after `grace` is dropped as it stands.
pub async fn finish<R: AsyncRead + Unpin>(stream: &mut R, queue: &SendQueue, grace: Duration) {
    let orderly = async {
        queue.flush().await?;
        while discard(stream).await? > 0 {}
        io::Result::Ok(())
    };
    // Lost, late or orderly: all that is left to do is to let go.
    drop(timeout(grace, orderly).await);
    queue.abort();
}

/// Reads once and forgets it; returns the bytes read, 0 at the end of the stream.
async fn discard<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<usize> {
    poll_fn(|cx| {
        scratch::with(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}
