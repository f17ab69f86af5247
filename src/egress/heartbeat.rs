//! Signs of life in both directions, without a timer for each connection: one task goes round all
//! sockets once in a heartbeat, a slice of them every second. What takes a store, the heads of groups
//! that moved, is told beside it: a store that hangs holds up no beat.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::send_queue::Unsent;
use super::socket::Socket;
use super::tally::Tally;
use crate::clock::{Clock, every};
use crate::model::time::Time;
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::server::{ErrorFrame, ServerFrame};
use crate::protocol::websocket::encode::ping_frame;

/// How often lagging and head-following sockets are looked at, and a slice gets its heartbeat.
const TICK: Duration = Duration::from_secs(1);

/// How long a slow reader may take to take the close frame.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long an expired authorisation is borne, in milliseconds (protocol.md, "WebSocket").
const EXPIRY_GRACE_MS: i64 = 60_000;

/// Why a socket is closed after that.
const EXPIRED: ErrorCode = ErrorCode::TokenExpired;

/// Beats for all sockets of a hub.
pub struct Heartbeat {
    /// The sockets.
    pub hub: Arc<Hub>,
    /// Tells when authorisations end.
    pub clock: Arc<dyn Clock>,
}

impl Heartbeat {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.beats(&stop), self.tell_heads(&stop));
    }

    async fn beats(&self, stop: &CancellationToken) {
        let (mut tick, mut last_s) = (every(TICK), None);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let now_s = self.hub.now_s();
            self.beat(
                now_s,
                last_s.map_or(1, |last_s| now_s.saturating_sub(last_s)),
            );
            last_s = Some(now_s);
        }
    }

    /// A beat for the slices of the last seconds: of one, unless the beat before was late.
    fn beat(&self, now_s: u64, seconds: u64) {
        let period = self.hub.options.heartbeat_s.max(1);
        let now = self.clock.now();
        let mut tally = Tally::default();
        for socket in self.hub.sockets() {
            tally.count(&socket);
            self.look_after(&socket, now);
            let since_its_turn = (now_s % period + period - socket.id % period) % period;
            if since_its_turn < seconds {
                self.beat_for(&socket, now_s);
            }
        }
        tally.show(&self.hub.metrics);
    }

    async fn tell_heads(&self, stop: &CancellationToken) {
        let mut tick = every(TICK);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            for socket in self.hub.sockets() {
                if self.hub.sessions.is_fresh() {
                    self.tell_moved(&socket).await;
                }
            }
        }
    }

    /// What may not wait for the socket's turn.
    fn look_after(&self, socket: &Socket, now: Time) {
        if socket.is_lagging() {
            socket.catch_up();
        }
        let stuck = socket.queue.stuck_since().map(|since| since.elapsed());
        let patience = Duration::from_secs(self.hub.options.slow_reader_s);
        match stuck {
            // Who does not even take the close frame is let go of.
            Some(stuck) if stuck >= patience + CLOSE_GRACE => socket.queue.abort(),
            Some(stuck) if stuck >= patience => socket.close(close::SLOW_READER, "slow reader"),
            Some(_) | None => {}
        }
        if now.as_millis() > socket.authorised_until().saturating_add(EXPIRY_GRACE_MS)
            && let Some(code) = EXPIRED.close_code()
        {
            socket.send(&ServerFrame::Error(ErrorFrame {
                id: None,
                group: None,
                code: EXPIRED,
                message: "the token ran out; renew it in time, by a frame `token`",
                errors: &[],
                retry_after_ms: None,
                valid_up_to: None,
            }));
            socket.close_with(code, EXPIRED.name(), Unsent::Deliver);
        }
    }

    async fn tell_moved(&self, socket: &Socket) {
        let moved = socket.take_moved();
        if moved.is_empty() {
            return;
        }
        let is_told = match self.hub.heads_for(socket.caller.user, &moved).await {
            Ok(heads) => socket.tell_heads(&heads),
            Err(error) => {
                tracing::debug!(%error, "heads are told later");
                false
            }
        };
        if !is_told {
            socket.note_moved(&moved);
        }
    }

    /// A sign of life, and a look for the client's: two missed pings end the connection.
    fn beat_for(&self, socket: &Socket, now_s: u64) {
        let misses = now_s.saturating_sub(socket.seen_s());
        if misses > 2 * self.hub.options.heartbeat_s + 2 {
            socket.queue.abort();
            return;
        }
        if socket.is_lagging() {
            // Its queue is full; it has a patience of its own.
            return;
        }
        if socket.is_welcomed() {
            socket.send(&ServerFrame::Heads { heads: &[] });
        }
        socket.send_raw(&ping_frame(b""));
    }
}
