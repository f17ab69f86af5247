//! The writing end of a socket with what it did not take at once: the state behind the lock of a
//! `SendQueue`.
//!
//! Every function returns at once; a write is one call that the kernel takes or refuses. It decides
//! what is written, queued or refused, and when the end is let go; waiting is the queue's part.

use std::{
    io::{self, ErrorKind},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;

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

#[derive(Debug)]
pub(super) struct Outlet {
    /// Dropped at the end, which sends FIN.
    socket: Option<OwnedWriteHalf>,
    /// Boxed and absent while idle: most connections are, most of the time.
    pub(super) backlog: Option<Box<Backlog>>,
    /// The task that writes when the socket takes more, while it waits.
    owner: Option<Waker>,
    /// Why the socket failed, until the owner has taken it.
    failure: Option<io::Error>,
    /// A close frame was accepted.
    closing: bool,
}

impl Outlet {
    pub(super) const fn new(socket: OwnedWriteHalf) -> Self {
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
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(Progress::Ended));
        };
        if self.backlog.is_none() {
            return Poll::Ready(Ok(Progress::Idle));
        }
        match ready!(socket.as_ref().poll_write_ready(cx)) {
            // Taken or refused, the owner asks again.
            Ok(()) => _ = self.write_queued(),
            Err(error) => self.fail(error),
        }
        Poll::Ready(self.failure.take().map_or(Ok(Progress::Writing), Err))
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
        if self.backlog.is_some() {
            self.enqueue(frame.clone());
            return Pushed::Queued;
        }
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
        let (Some(socket), Some(backlog)) = (&self.socket, &mut self.backlog) else {
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
        if emptied.is_some() && self.closing {
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
