//! From the log to the hub: one task follows the logs of all groups with local listeners, checks
//! validity and density, fills holes from the store, encodes each piece once and pushes it.
//!
//! Inputs of the loop: draining, groups to follow or to leave, entries of the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::group::{Listeners, LocalGroup};
use super::hub::Hub;
use super::socket::Push;
use crate::clock::Clock;
use crate::model::event::{Content, Entry};
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::protocol::server::{events, told};
use crate::protocol::websocket::encode::text_frame;
use crate::store::Result;
use crate::store::history::History;
use crate::store::log::{Log, Tail, Tailed};

/// Events in one frame at most.
const FRAME_EVENTS_MAX: usize = 100;

/// Bytes of events in one frame at most, but for a single larger event.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Events read at a time to fill a hole.
const FILL: usize = 256;

/// The pause after the log failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The rest after a round of pushes: so many times as long as the round, so that under load the next
/// one finds more events for each frame and more frames for each write; at least so long that many
/// groups in which little is said share a round, and never so long that anyone notices.
const RESTS: u32 = 4;
const REST_MIN: Duration = Duration::from_millis(4);
const REST_MAX: Duration = Duration::from_millis(8);

/// Pushes what is appended.
pub struct Pusher {
    hub: Arc<Hub>,
    history: History,
    clock: Arc<dyn Clock>,
}

impl Pusher {
    /// A pusher into this hub.
    pub fn new(hub: Arc<Hub>, history: History, clock: Arc<dyn Clock>) -> Self {
        Self {
            hub,
            history,
            clock,
        }
    }

    /// Runs until `stop`.
    pub async fn run(self, log: Arc<dyn Log>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match log.tail().await {
                Ok(tail) => self.follow(tail, &stop).await,
                Err(error) => tracing::warn!(%error, "the log cannot be tailed"),
            }
            stop.run_until_cancelled(sleep(PAUSE)).await;
        }
    }

    async fn follow(&self, mut tail: Box<dyn Tail>, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                wanted = self.hub.wanted() => {
                    for (group, after) in wanted {
                        match after {
                            Some(after) => tail.watch(group, after),
                            None => tail.unwatch(group),
                        }
                    }
                }
                tailed = tail.next() => match tailed {
                    Ok(tailed) => {
                        if stop.run_until_cancelled(self.hub.sessions.fresh()).await.is_none() {
                            return;
                        }
                        let began = Instant::now();
                        self.push_all(&mut *tail, tailed).await;
                        rest(began.elapsed(), stop).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the tail waits for the log");
                        stop.run_until_cancelled(sleep(PAUSE)).await;
                    }
                }
            }
        }
    }

    /// Pushes one round. Frames of several groups wait for each other, so that a person in many
    /// of them costs one write.
    async fn push_all(&self, tail: &mut dyn Tail, tailed: Vec<Tailed>) {
        let mut round = Round::new(tailed.len() > 1);
        for piece in tailed {
            let Some(local) = self.hub.group(piece.group) else {
                continue;
            };
            let (group, head) = (piece.group, piece.head_above);
            let pushed = self.push_group(&local, piece, &mut round).await;
            let reached = local.reached().pos;
            match pushed {
                // The cursor of the tail stands where the last entry was, below a head that has none.
                Ok(()) if head.is_some_and(|head| head.pos <= reached) => {
                    tail.watch(group, reached);
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%group, %error, "a piece of a log is read again");
                    tail.watch(group, reached);
                }
            }
        }
    }

    /// Pushes what a log brought, after what may be missing before it.
    async fn push_group(&self, local: &LocalGroup, piece: Tailed, round: &mut Round) -> Result<()> {
        let newest = piece.entries.iter().map(|entry| entry.pos.epoch).max();
        let newest = newest.max(piece.head_above.map(|head| head.pos.epoch));
        self.learn_epochs(local, newest.unwrap_or(0), round).await?;
        let reached = local.reached();
        let is_fresh =
            |entry: &Entry| entry.pos.seq > reached.pos.seq && reached.table.is_valid(entry.pos);
        let fresh: Vec<Entry> = piece.entries.into_iter().filter(is_fresh).collect();
        let dense = fresh
            .first()
            .is_none_or(|entry| entry.pos.seq == reached.pos.seq + 1);
        let upto = match (fresh.last(), piece.head_above) {
            (_, Some(head)) if head.pos > reached.pos => Some(head.pos),
            (Some(last), _) if !dense => Some(last.pos),
            _ => None,
        };
        match upto {
            Some(upto) => self.fill(local, upto, round).await,
            None => {
                self.push_entries(local, &fresh, round);
                Ok(())
            }
        }
    }

    /// Tells listeners of epochs that began, before anything of them is pushed.
    async fn learn_epochs(&self, local: &LocalGroup, epoch: u64, round: &mut Round) -> Result<()> {
        let known = local.reached().table.epoch();
        if epoch <= known {
            return Ok(());
        }
        round.release();
        let table = self.history.table_at(local.id, epoch).await?;
        let rows: Vec<_> = table.above(known).map(told).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let listeners = local.advance(|reached| {
            if let Some((seq, count)) = table.count_at_cut(reached.pos) {
                reached.pos = Position::new(reached.pos.epoch, seq);
                reached.count = count;
            }
            reached.table = table;
        });
        for user in listeners.iter() {
            user.for_each_socket(|socket| socket.tell_epochs(local.id, &rows));
        }
        local.settle();
        Ok(())
    }

    /// Pushes everything up to `upto` from log and store.
    async fn fill(&self, local: &LocalGroup, upto: Position, round: &mut Round) -> Result<()> {
        self.hub.metrics.tail_gaps.inc();
        loop {
            round.release();
            let reached = local.reached();
            let mut table = reached.table.clone();
            let step = self
                .history
                .after(local.id, &mut table, reached.pos, Some(upto), FILL);
            let step = step.await?;
            if step.is_empty() {
                local.settle();
                return Ok(());
            }
            self.learn_epochs(local, table.epoch(), round).await?;
            self.push_entries(local, &step, round);
        }
    }

    /// Pushes dense entries, cut into frames; a change of membership takes effect behind its
    /// event.
    fn push_entries(&self, local: &LocalGroup, entries: &[Entry], round: &mut Round) {
        self.hub.metrics.events_tailed.inc_by(entries.len() as u64);
        let mut rest = entries;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(frame_len(rest));
            self.push_piece(local, piece, round);
            rest = after;
        }
    }

    fn push_piece(&self, local: &LocalGroup, piece: &[Entry], round: &mut Round) {
        let Some(last) = piece.last() else { return };
        let from = local.reached().pos;
        let frame = text_frame(&events(local.id, piece));
        let push = Push {
            group: local.id,
            from,
            last: last.pos,
            frame,
            may_wait: round.may_wait,
        };
        round.deliver(local.advance_to(last), &push);
        self.observe(piece);
        if last.kind.changes_membership() {
            self.apply(local.id, last);
        }
    }

    fn observe(&self, piece: &[Entry]) {
        let now = self.clock.now();
        for entry in piece {
            let delay = now.since(entry.at).as_secs_f64();
            self.hub.metrics.push_seconds.observe(delay);
        }
    }

    /// After an event that ended a membership nothing more is pushed to that person.
    fn apply(&self, group: GroupId, entry: &Entry) {
        let Ok(event) = entry.event() else { return };
        match event.fixed.content {
            Content::Left { user } | Content::Removed { user } => self.hub.expel(user, group),
            Content::Message { .. }
            | Content::Joined { .. }
            | Content::Role { .. }
            | Content::Settings { .. }
            | Content::Lost {} => {}
        }
    }
}

/// The pushes of one round, and who has frames that wait. Dropped, it lets them go.
struct Round {
    may_wait: bool,
    waiting: Vec<Listeners>,
}

impl Round {
    const fn new(may_wait: bool) -> Self {
        Self {
            may_wait,
            waiting: Vec::new(),
        }
    }

    fn deliver(&mut self, listeners: Listeners, push: &Push) {
        for user in listeners.iter() {
            user.for_each_socket(|socket| socket.push(push));
        }
        if self.may_wait {
            self.waiting.push(listeners);
        }
    }

    /// Writes what waits: before anything that may last, and at the end.
    fn release(&mut self) {
        for listeners in self.waiting.drain(..) {
            for user in listeners.iter() {
                user.for_each_socket(|socket| socket.queue.release());
            }
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.release();
    }
}

async fn rest(worked: Duration, stop: &CancellationToken) {
    let long = (worked * RESTS).clamp(REST_MIN, REST_MAX);
    stop.run_until_cancelled(sleep(long)).await;
}

/// How many of the entries go into one frame: up to the bounds, and not beyond a change of
/// membership.
fn frame_len(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    for (index, entry) in entries.iter().enumerate() {
        bytes += entry.fixed.len();
        if index > 0 && (index >= FRAME_EVENTS_MAX || bytes > FRAME_BYTES_MAX) {
            return index;
        }
        if entry.kind.changes_membership() {
            return index + 1;
        }
    }
    entries.len()
}
