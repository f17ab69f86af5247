//! Frames of one client that must keep their order: one runs, a few wait. Sends have a lane of
//! their own, so that nothing else a client asks for, and no store but the log, holds them up.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;

use super::commands::{Asked, Commands, Offence};

/// Frames that wait before nothing more is read from the client.
const WAITING_MAX: usize = 32;

/// A frame that is being handled.
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Offence>> + Send + 'a>>;

/// One lane.
#[derive(Default)]
pub(super) struct Lane<'a> {
    waiting: VecDeque<Asked>,
    running: Option<Running<'a>>,
}

impl<'a> Lane<'a> {
    /// Whether another frame may be added.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Whether nothing runs or waits.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// Adds a frame.
    pub(super) fn add(&mut self, asked: Asked) {
        self.waiting.push_back(asked);
    }

    /// Runs the frame at hand, or the next one, to its end; waits for ever if there is none.
    /// Cancel safe: what runs goes on with the next call.
    ///
    /// # Errors
    /// The client should not have sent it; it was told.
    pub(super) async fn run(&mut self, commands: &'a Commands) -> Result<(), Offence> {
        if self.running.is_none() {
            let Some(asked) = self.waiting.pop_front() else {
                return pending().await;
            };
            self.running = Some(Box::pin(commands.handle(asked)));
        }
        let Some(running) = self.running.as_mut() else {
            return pending().await;
        };
        let done = running.await;
        self.running = None;
        if self.waiting.is_empty() {
            self.waiting.shrink_to_fit();
        }
        done
    }

    /// Runs what was begun and what waits.
    pub(super) async fn finish(&mut self, commands: &'a Commands) {
        while !self.is_empty() {
            // The client was told of a failure.
            self.run(commands).await.unwrap_or_default();
        }
    }
}
