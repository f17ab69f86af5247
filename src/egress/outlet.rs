//! The writing end of a socket with what it did not take at once: the state behind the lock of a
//! `SendQueue`.
//!
//! Every function returns at once; a write is one call that the kernel takes or refuses, or, of a
//! TLS stream, one step of the owner's. It decides what is written, queued or refused, and when the
//! end is let go; waiting is the queue's part.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};

use crate::egress::{
    backlog::Backlog,
    send_queue::{Pushed, Unsent},
};

/// How far the owner's writing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more to write.
    Writing,
    /// Nothing is queued.
    Idle,
    /// Nothing will ever be queued again.
    Ended,
}

/// The writing end of a stream.
pub(super) enum Writer {
    /// A plain socket: whoever has a frame writes it. Dropping it sends FIN.
    Shared(OwnedWriteHalf),
    /// Any other stream: only the owner writes, which also ends it in order.
    Owned(Box<dyn AsyncWrite + Send + Unpin>),
}

#[derive(Debug)]
pub(super) struct Outlet {
    /// Dropped at the end.
    socket: Option<Writer>,
    /// Boxed and absent while idle: most connections are, most of the time.
    pub(super) backlog: Option<Box<Backlog>>,
    /// The task that writes when the socket takes more, while it waits.
    owner: Option<Waker>,
    /// Why the socket failed, until the owner has taken it.
    failure: Option<io::Error>,
    /// A close frame was accepted.
    closing: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Shared",
            Self::Owned(_) => "Owned",
        })
    }
}

impl Outlet {
    pub(super) const fn new(socket: Writer) -> Self {
        Self {
            socket: Some(socket),
            backlog: None,
            owner: None,
            failure: None,
            closing: false,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closing || self.socket.is_none()
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// Writes `frame`, or queues what the socket does not take.
    pub(super) fn push(&mut self, frame: &Bytes, bytes_max: usize) -> Pushed {
        match self.refuse(frame, bytes_max) {
            Some(refused) => refused,
            None => self.write_or_queue(frame),
        }
    }

    /// As [`Outlet::push`], if nothing is queued.
    pub(super) fn offer(&mut self, frame: &Bytes, bytes_max: usize) -> Pushed {
        match self.backlog {
            Some(_) => Pushed::Full,
            None => self.push(frame, bytes_max),
        }
    }

    /// Queues `frame` without a write.
    pub(super) fn hold(&mut self, frame: &Bytes, bytes_max: usize) -> Pushed {
        self.refuse(frame, bytes_max).unwrap_or_else(|| {
            self.enqueue(frame.clone());
            Pushed::Queued
        })
    }

    /// Writes what is queued as far as the socket takes it; the owner does the rest.
    pub(super) fn release(&mut self) {
        while self.backlog.is_some() {
            if !self.write_queued() {
                return self.wake_owner();
            }
        }
    }

    /// Sends `frame` as the last one; only the first call counts.
    pub(super) fn close(&mut self, frame: &Bytes, unsent: Unsent) {
        if self.is_closed() {
            return;
        }
        self.closing = true;
        if unsent == Unsent::Discard {
            self.discard_unsent();
        }
        match self.write_or_queue(frame) {
            Pushed::Sent => self.end(),
            // Held frames may be before it, of which the owner does not know yet.
            Pushed::Queued | Pushed::Full | Pushed::Closed => self.wake_owner(),
        }
    }

    /// Lets the socket go with all that is queued.
    pub(super) fn end(&mut self) {
        self.socket = None;
        self.backlog = None;
        self.wake_owner();
    }

    /// One vectored write once the socket takes more; `Pending` until then.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        self.register(cx.waker());
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        let progress = match &self.socket {
            None => Progress::Ended,
            Some(Writer::Shared(_)) => ready!(self.poll_shared(cx)),
            Some(Writer::Owned(_)) => ready!(self.poll_owned(cx)),
        };
        Poll::Ready(self.failure.take().map_or(Ok(progress), Err))
    }

    fn poll_shared(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let (Some(Writer::Shared(socket)), Some(_)) = (&self.socket, &self.backlog) else {
            return Poll::Ready(Progress::Idle);
        };
        match ready!(socket.as_ref().poll_write_ready(cx)) {
            // Taken or refused, the owner asks again.
            Ok(()) => _ = self.write_queued(),
            Err(error) => self.fail(error),
        }
        Poll::Ready(Progress::Writing)
    }

    /// What is queued; then what the stream itself kept back; then, at the end, its farewell.
    fn poll_owned(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let Some(Writer::Owned(stream)) = &mut self.socket else {
            return Poll::Ready(Progress::Ended);
        };
        let mut stream = Pin::new(stream);
        if let Some(backlog) = &self.backlog {
            let write = |slices: &[IoSlice<'_>]| stream.as_mut().poll_write_vectored(cx, slices);
            match ready!(backlog.write_with(write)) {
                Ok(0) => self.fail(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) => self.fail(error),
            }
            return Poll::Ready(Progress::Writing);
        }
        let done = match self.closing {
            false => ready!(stream.poll_flush(cx)),
            true => ready!(stream.poll_shutdown(cx)),
        };
        match done {
            Err(error) => self.fail(error),
            Ok(()) if self.closing => self.end(),
            Ok(()) => return Poll::Ready(Progress::Idle),
        }
        Poll::Ready(Progress::Ended)
    }

    fn refuse(&self, frame: &Bytes, bytes_max: usize) -> Option<Pushed> {
        if self.is_closed() {
            Some(Pushed::Closed)
        } else if self.queued_bytes().saturating_add(frame.len()) > bytes_max {
            Some(Pushed::Full)
        } else {
            None
        }
    }

    fn write_or_queue(&mut self, frame: &Bytes) -> Pushed {
        let Some(socket) = &self.socket else {
            return Pushed::Closed;
        };
        let socket = match socket {
            Writer::Shared(socket) if self.backlog.is_none() => socket,
            Writer::Shared(_) => {
                self.enqueue(frame.clone());
                return Pushed::Queued;
            }
            Writer::Owned(_) => return self.queue_rest(frame, 0),
        };
        match socket.try_write(frame) {
            Ok(written) if written == frame.len() => Pushed::Sent,
            Ok(written) => self.queue_rest(frame, written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.queue_rest(frame, 0),
            Err(error) => {
                self.fail(error);
                Pushed::Closed
            }
        }
    }

    fn queue_rest(&mut self, frame: &Bytes, written: usize) -> Pushed {
        self.enqueue(frame.clone()).advance(written);
        self.wake_owner();
        Pushed::Queued
    }

    fn enqueue(&mut self, frame: Bytes) -> &mut Backlog {
        let backlog = self.backlog.get_or_insert_with(|| Box::new(Backlog::new()));
        backlog.push(frame);
        backlog
    }

    fn discard_unsent(&mut self) {
        self.backlog.take_if(|backlog| {
            backlog.discard_unsent();
            backlog.is_empty()
        });
    }

    /// One vectored write; false if the socket took nothing.
    fn write_queued(&mut self) -> bool {
        let (Some(Writer::Shared(socket)), Some(backlog)) = (&self.socket, &self.backlog) else {
            return false;
        };
        match backlog.write_with(|slices| socket.try_write_vectored(slices)) {
            Ok(0) => self.fail(ErrorKind::WriteZero.into()),
            Ok(written) => self.advance(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => self.fail(error),
        }
        true
    }

    fn advance(&mut self, written: usize) {
        let emptied = self.backlog.take_if(|backlog| {
            backlog.advance(written);
            backlog.is_empty()
        });
        let is_shared = matches!(self.socket, Some(Writer::Shared(_)));
        if emptied.is_some() && self.closing && is_shared {
            self.end();
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure = Some(error);
        self.end();
    }

    fn register(&mut self, waker: &Waker) {
        if !self
            .owner
            .as_ref()
            .is_some_and(|owner| owner.will_wake(waker))
        {
            self.owner = Some(waker.clone());
        }
    }

    fn wake_owner(&mut self) {
        if let Some(owner) = self.owner.take() {
            owner.wake();
        }
    }
}
