//! What one connection still has to be sent, and the writing end of its socket.
//!
//! Frames flow in from any task (the hub, the session's answers), whole and already encoded; they
//! flow out to the socket at once if it takes them, else as soon as it does, in order and never
//! interleaved. The queue is bounded in bytes and refuses what is over the bound; what to do then
//! (resync, close) is the caller's policy. It owns the writing end: once the close frame is
//! written, or the socket failed, the end is dropped, which sends FIN and does not keep the
//! descriptor open for whoever still holds the queue. It never waits in `push`, and an idle queue
//! holds no memory but itself.
//!
//! Of a TLS stream the records must not interleave with what reading it writes, so there only the
//! owner writes: `push` queues and wakes it.

use std::{
    future::poll_fn,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf, time::Instant};

use crate::egress::outlet::{Outlet, Progress, Writer};

/// What became of a frame.
#[must_use = "a frame that is Full was not sent"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The kernel has it; only of a plain socket.
    Sent,
    /// It will be written when the socket takes it.
    Queued,
    /// It would exceed the bound: not sent, not queued.
    Full,
    /// The connection is closing, or gone.
    Closed,
}

/// What a close frame does with frames before it that were not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// They go first: the client is to have them.
    Deliver,
    /// They are dropped: the client does not read, and the memory is wanted back.
    Discard,
}

/// The sending side of one connection; shared by `Arc`.
#[derive(Debug)]
pub struct SendQueue {
    /// A std lock: held for one non-blocking system call at most, so that frames of several tasks
    /// cannot interleave, and never across an await.
    outlet: Mutex<Outlet>,
    bytes_max: usize,
}

impl SendQueue {
    /// A queue of at most `bytes_max` bytes that the socket has not taken. A frame longer than that
    /// is never accepted, also by an idle queue: a part of it might have to be queued.
    pub const fn new(socket: OwnedWriteHalf, bytes_max: usize) -> Self {
        Self {
            outlet: Mutex::new(Outlet::new(Writer::Shared(socket))),
            bytes_max,
        }
    }

    /// The same for a stream that only its owner may write to, as TLS is.
    pub fn owned(stream: impl AsyncWrite + Send + Unpin + 'static, bytes_max: usize) -> Self {
        Self {
            outlet: Mutex::new(Outlet::new(Writer::Owned(Box::new(stream)))),
            bytes_max,
        }
    }

    /// The bound in bytes.
    pub const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Sends one whole frame: written at once if nothing is before it, else queued. It is cloned
    /// (by reference count) only to be queued.
    pub fn push(&self, frame: &Bytes) -> Pushed {
        self.lock().push(frame, self.bytes_max)
    }

    /// Sends one whole frame that may as well be lost: only if nothing is before it, else it is
    /// [`Pushed::Full`].
    pub fn offer(&self, frame: &Bytes) -> Pushed {
        self.lock().offer(frame, self.bytes_max)
    }

    /// Queues one whole frame to be written together with those that follow. The caller sees to it
    /// that [`release`](Self::release) comes within the time that frames may be held; the owner may
    /// write them earlier.
    pub fn hold(&self, frame: &Bytes) -> Pushed {
        self.lock().hold(frame, self.bytes_max)
    }

    /// Writes held frames, up to 64 in one call.
    pub fn release(&self) {
        self.lock().release();
    }

    /// Sends a close frame as the last frame, also over the bound. Only the first one counts; from
    /// then on nothing is accepted, and when it is written the stream is ended.
    pub fn close(&self, frame: &Bytes, unsent: Unsent) {
        self.lock().close(frame, unsent);
    }

    /// Ends the stream as it stands and drops what is queued.
    pub fn abort(&self) {
        self.lock().end();
    }

    /// True once nothing more is accepted; what was accepted may still be on its way.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    /// True when the kernel has all that was accepted.
    pub fn is_idle(&self) -> bool {
        self.lock().backlog.is_none()
    }

    /// Bytes accepted and not yet taken by the kernel; at most `bytes_max` and a close frame.
    pub fn queued_bytes(&self) -> usize {
        self.lock().queued_bytes()
    }

    /// Since when the socket has taken nothing of what is queued; `None` when nothing is queued. A
    /// connection that is slow but steady is never stuck for long.
    pub fn stuck_since(&self) -> Option<Instant> {
        self.lock()
            .backlog
            .as_ref()
            .map(|backlog| backlog.stuck_since())
    }

    /// Waits until all that was accepted is written. Only one task, the owner of the connection,
    /// may wait here or in [`pump`](Self::pump). Cancel safe.
    ///
    /// # Errors
    /// Why the socket failed; told once, afterwards the queue is closed and empty.
    pub async fn flush(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_until(cx, |progress| progress != Progress::Writing)).await
    }

    /// Writes whatever gets queued until the stream is ended: a branch of the owner's loop. Cancel
    /// safe.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn pump(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_until(cx, |progress| progress == Progress::Ended)).await
    }

    fn poll_until(
        &self,
        cx: &mut Context<'_>,
        done: impl Fn(Progress) -> bool,
    ) -> Poll<io::Result<()>> {
        loop {
            // The lock is taken anew for each write, so that others get their turn.
            let progress = ready!(self.lock().poll_write(cx))?;
            if done(progress) {
                return Poll::Ready(Ok(()));
            }
            if progress == Progress::Idle {
                return Poll::Pending;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outlet> {
        // A panic elsewhere leaves the queue consistent: every write is accounted for at once.
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
