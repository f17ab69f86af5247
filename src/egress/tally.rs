//! How the sockets of this node are, for operators: how many in which state, and what waits for
//! them. Counted anew in each round of the heartbeat; changes nothing.

use super::socket::Socket;
use crate::telemetry::Metrics;

/// Counts of one round.
#[derive(Debug, Default)]
pub(super) struct Tally {
    arriving: i64,
    live: i64,
    lagging: i64,
    closing: i64,
    queued_bytes: usize,
    queued_bytes_max: usize,
}

impl Tally {
    /// Counts one socket.
    pub(super) fn count(&mut self, socket: &Socket) {
        let state = if socket.queue.is_closed() {
            &mut self.closing
        } else if !socket.is_welcomed() {
            &mut self.arriving
        } else if socket.is_lagging() {
            &mut self.lagging
        } else {
            &mut self.live
        };
        *state += 1;
        let queued = socket.queue.queued_bytes();
        self.queued_bytes = self.queued_bytes.saturating_add(queued);
        self.queued_bytes_max = self.queued_bytes_max.max(queued);
    }

    /// Shows the counts.
    pub(super) fn show(&self, metrics: &Metrics) {
        let states = [
            ("arriving", self.arriving),
            ("live", self.live),
            ("lagging", self.lagging),
            ("closing", self.closing),
        ];
        for (state, count) in states {
            metrics.sockets.with_label_values(&[state]).set(count);
        }
        let bytes = |count| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.queued_bytes.set(bytes(self.queued_bytes));
        metrics.queued_bytes_max.set(bytes(self.queued_bytes_max));
    }
}
