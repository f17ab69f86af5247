//! The frames that a socket did not take at once, in order.
//!
//! Plain data: whole frames and partial progress flow in, slices for one vectored write flow out.
//! It knows neither the socket nor a bound. It exists only while there is something in it.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

/// Frames in one vectored write: enough that the kernel's work per call is shared by many, and 1 KB
/// of stack. Linux takes up to 1024.
pub(super) const FRAMES_PER_WRITE_MAX: usize = 64;

/// Frames still to be written; the first one possibly in part.
#[derive(Debug)]
pub(super) struct Backlog {
    /// The first holds only what is left of it, so its start moves up with each write.
    frames: VecDeque<Bytes>,
    /// Sum of `frames`.
    bytes: usize,
    /// Some of the first frame was written: the stream is corrupt unless the rest follows.
    first_is_begun: bool,
    /// When the socket last took something, or the first frame came in.
    progress_at: Instant,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            first_is_begun: false,
            progress_at: Instant::now(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes still to be written.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the socket has taken nothing.
    pub(super) const fn stuck_since(&self) -> Instant {
        self.progress_at
    }

    /// Adds a frame at the end; an empty one is nothing to write.
    pub(super) fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// Notes that `bytes` from the front were written, and drops the frames that are through.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        if bytes > 0 {
            self.progress_at = Instant::now();
        }
        while let Some(first) = self.frames.front_mut() {
            if bytes < first.len() {
                first.advance(bytes);
                self.first_is_begun |= bytes > 0;
                return;
            }
            bytes -= first.len();
            self.first_is_begun = false;
            self.frames.pop_front();
        }
    }

    /// Drops every frame that has not been begun.
    pub(super) fn discard_unsent(&mut self) {
        self.frames.truncate(usize::from(self.first_is_begun));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
    }

    /// Hands the front of the queue to `write` as slices, without an allocation.
    pub(super) fn write_with<R>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE_MAX];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        write(&slices[..count])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::{Backlog, FRAMES_PER_WRITE_MAX};

    fn backlog(frames: &[&'static str]) -> Backlog {
        let mut backlog = Backlog::new();
        for frame in frames {
            backlog.push(Bytes::from_static(frame.as_bytes()));
        }
        backlog
    }

    fn content(backlog: &Backlog) -> Vec<u8> {
        backlog.write_with(|slices| slices.iter().flat_map(|slice| slice.to_vec()).collect())
    }

    #[test]
    fn frames_are_written_in_order() {
        assert_eq!(content(&backlog(&["one", "two"])), b"onetwo");
    }

    #[test]
    fn progress_may_end_inside_a_frame() {
        let mut backlog = backlog(&["one", "two", "three"]);
        backlog.advance(4);
        assert_eq!(
            (content(&backlog), backlog.bytes()),
            (b"wothree".to_vec(), 7)
        );
        backlog.advance(7);
        assert_eq!((backlog.is_empty(), backlog.bytes()), (true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_socket_is_not_stuck() {
        let mut backlog = backlog(&["one", "two"]);
        let begun = backlog.stuck_since();
        tokio::time::advance(Duration::from_secs(9)).await;
        backlog.advance(0);
        assert_eq!(backlog.stuck_since(), begun);
        backlog.advance(1);
        assert_eq!(backlog.stuck_since(), begun + Duration::from_secs(9));
    }

    #[test]
    fn begun_frame_is_never_discarded() {
        let mut backlog = backlog(&["one", "two", "three"]);
        backlog.advance(4);
        backlog.discard_unsent();
        assert_eq!((content(&backlog), backlog.bytes()), (b"wo".to_vec(), 2));
    }

    #[test]
    fn frames_at_a_boundary_are_discarded_whole() {
        let mut backlog = backlog(&["one", "two"]);
        backlog.advance(3);
        backlog.discard_unsent();
        assert_eq!((backlog.is_empty(), backlog.bytes()), (true, 0));
    }

    #[test]
    fn one_write_takes_a_bounded_number_of_frames() {
        let backlog = backlog(&["x"; FRAMES_PER_WRITE_MAX + 1]);
        assert_eq!(content(&backlog).len(), FRAMES_PER_WRITE_MAX);
    }
}
