//! Hints from all nodes, this one included, reach the sockets here as `signal` frames
//! (protocol.md, "Signals"). They are what is dropped first: nothing is pushed in a large group,
//! while pushes are held back, beyond so many frames a second, or to a socket that has not taken
//! all that was pushed before.
//!
//! Inputs of the loop: the stop, hints. Never waits for a socket or a store.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::group::LocalGroup;
use super::hints::count_dropped;
use super::hub::Hub;
use crate::model::hint::{Hint, HintKind};
use crate::protocol::server::ServerFrame;
use crate::protocol::websocket::encode::text_frame;
use crate::telemetry::show_zero;

/// Pushes hints to local listeners.
pub struct Hearing {
    hub: Arc<Hub>,
    /// The second of the hub's clock that is spent of, and the frames spent.
    spent: (u64, usize),
}

impl Hearing {
    /// For the listeners of this hub.
    pub fn new(hub: Arc<Hub>) -> Self {
        for kind in HintKind::ALL {
            show_zero(&hub.metrics.signals_pushed, kind.name());
        }
        Self { hub, spent: (0, 0) }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, mut hints: Receiver<Hint>, stop: CancellationToken) {
        while let Some(heard) = stop.run_until_cancelled(hints.recv()).await {
            match heard {
                Ok(hint) => self.push(&hint),
                Err(RecvError::Lagged(lost)) => count_dropped(&self.hub.metrics, "lagged", lost),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn push(&mut self, hint: &Hint) {
        if !self.hub.sessions.is_fresh() {
            return count_dropped(&self.hub.metrics, "held", 1);
        }
        for group in &hint.groups {
            if let Some(local) = self.hub.group(*group) {
                self.push_in(&local, hint);
            }
        }
    }

    fn push_in(&mut self, local: &LocalGroup, hint: &Hint) {
        let (group, kind, user) = (local.id, hint.kind, hint.user);
        let listeners = local.listeners();
        if !self.hub.hints_in(local) {
            return count_dropped(&self.hub.metrics, "group_size", 1);
        }
        if !self.afford(listeners.len()) {
            return count_dropped(&self.hub.metrics, "budget", 1);
        }
        let pushed = &self.hub.metrics.signals_pushed;
        pushed.with_label_values(&[kind.name()]).inc();
        let frame = text_frame(&ServerFrame::Signal { group, kind, user }.encode());
        for listener in listeners.iter().filter(|listener| listener.id != user) {
            listener.for_each_socket(|socket| socket.hint(group, &frame));
        }
    }

    /// Spends frames of this second; all or none.
    fn afford(&mut self, frames: usize) -> bool {
        let now = self.hub.now_s();
        if self.spent.0 != now {
            self.spent = (now, 0);
        }
        let spent = self.spent.1.saturating_add(frames);
        let is_affordable = spent <= self.hub.options.signals_per_second_max;
        if is_affordable {
            self.spent.1 = spent;
        }
        is_affordable
    }
}
