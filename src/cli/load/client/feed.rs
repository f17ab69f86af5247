//! One group as a client holds it: the last position applied, the epochs told, what waits for a
//! hole to be filled, and when to pull. The rules are protocol.md's "Resume and gaps".
//!
//! A feed never sends: it answers what must be done, and its owner does it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::load::wire::Event;
use crate::model::position::{Epoch, Position, Seq};

/// How long a hole, or a head without its event, is waited for before it is pulled.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a page may take before it is asked for again.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many events may wait behind a hole; what comes above is dropped and pulled later.
const HELD_MAX: usize = 4096;

/// What came of one pushed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    /// As promised: above all that was pushed before, or a repeat that a resume may bring.
    InOrder,
    /// This socket was pushed this position before.
    Doubled,
    /// A higher one was pushed before.
    OutOfOrder,
    /// Something before it was not pushed, and no page of it is on its way.
    AfterHole,
    /// Its epoch was never told: a fault of the server.
    Untold,
}

/// A group's log, as far as one client has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Feed {
    last: Position,
    head: Position,
    stored: Position,
    /// Highest epoch told on this socket; 0 before the welcome.
    told: Epoch,
    rows: BTreeMap<Epoch, Seq>,
    held: BTreeMap<Seq, Event>,
    /// The highest position pushed on this socket.
    pushed: Position,
    /// The head in the welcome: up to there the resume may repeat what a page brought.
    resumed: Position,
    active_at: Duration,
    behind_since: Option<Duration>,
    pull_sent: Option<Duration>,
    pull_at: Option<Duration>,
}

impl Feed {
    /// A feed that begins above `head`, as a socket without a cursor does.
    pub(super) fn from_head(head: Position) -> Self {
        Self {
            last: head,
            ..Self::default()
        }
    }

    /// The last position applied: the cursor of the next hello.
    pub(super) const fn last(&self) -> Position {
        self.last
    }

    /// When the group was last heard of: cursors of the latest go first.
    pub(super) const fn active_at(&self) -> Duration {
        self.active_at
    }

    /// The highest position known: what a first try of a send names later as `again`.
    pub(super) fn head(&self) -> Position {
        self.head.max(self.last)
    }

    /// Forgets what belongs to the socket that was lost.
    pub(super) fn socket_lost(&mut self) {
        self.told = 0;
        self.pushed = Position::START;
        self.behind_since = None;
        self.pull_sent = None;
        self.pull_at = None;
        self.held.clear();
    }

    /// Takes the group's line of a welcome, its rows aside: they are told first.
    pub(super) fn welcomed(&mut self, head: Position, must_pull: bool, now: Duration) {
        self.told = self.told.max(head.epoch);
        self.head = head;
        self.resumed = head;
        self.look_behind(now);
        if must_pull {
            self.pull_at = Some(now);
        }
    }

    /// Takes rows that were told. Answers the first seq that was dropped, if any was held.
    pub(super) fn told(&mut self, rows: &[(Epoch, Seq)], now: Duration) -> Option<Seq> {
        let before = self.last;
        for (epoch, start) in rows {
            self.rows.insert(*epoch, *start);
            self.told = self.told.max(*epoch);
        }
        self.last = self.clamp(self.last);
        self.head = self.clamp(self.head);
        let held = std::mem::take(&mut self.held);
        self.held = held
            .into_iter()
            .filter(|(_, event)| !self.is_dead(event.pos))
            .collect();
        self.look_behind(now);
        (self.last != before).then_some(self.last.seq + 1)
    }

    /// Whether rows told declare the position dead.
    pub(super) fn is_dead(&self, pos: Position) -> bool {
        self.later_rows(pos.epoch).any(|start| start <= pos.seq)
    }

    /// The nearest position at or below `pos` that the rows told leave valid.
    pub(super) fn clamp(&self, pos: Position) -> Position {
        match self.later_rows(pos.epoch).min() {
            Some(start) if start <= pos.seq => Position::new(pos.epoch, start.saturating_sub(1)),
            _ => pos,
        }
    }

    fn later_rows(&self, epoch: Epoch) -> impl Iterator<Item = Seq> + '_ {
        self.rows
            .range(epoch.saturating_add(1)..)
            .map(|(_, start)| *start)
    }

    /// Takes a watermark; the highest counts.
    pub(super) fn stored(&mut self, pos: Position) {
        self.stored = self.stored.max(pos);
    }

    /// Whether the watermark settles a send that was accepted at `pos` (protocol.md,
    /// "Receipts").
    pub(super) fn settles(&self, pos: Position) -> bool {
        let Position { epoch, seq } = self.stored;
        let same = pos.epoch == epoch && pos.seq <= seq;
        let earlier = pos.epoch < epoch && !self.is_dead(pos);
        epoch <= self.told && (same || earlier)
    }

    /// Takes a head that was told in passing. `false` if its epoch was not: a fault.
    pub(super) fn heard_head(&mut self, head: Position, now: Duration) -> bool {
        if head.epoch > self.told {
            return false;
        }
        self.raise_head(head, now);
        true
    }

    /// Pushing was interrupted; pulls at once.
    pub(super) fn resync(&mut self, head: Position, now: Duration) {
        self.raise_head(head, now);
        self.pull_at = Some(now);
    }

    /// Takes one pushed event; what can be applied now goes to `applied`, in order.
    pub(super) fn push(&mut self, event: Event, now: Duration, applied: &mut Vec<Event>) -> Push {
        let pos = event.pos;
        if pos.epoch > self.told {
            return Push::Untold;
        }
        let push = self.judge(pos);
        self.pushed = self.pushed.max(pos);
        self.take(event, applied);
        self.raise_head(pos, now);
        push
    }

    fn judge(&self, pos: Position) -> Push {
        if self.is_dead(pos) {
            Push::InOrder
        } else if pos > self.pushed && self.opens_hole(pos) {
            Push::AfterHole
        } else if pos > self.pushed || pos <= self.resumed {
            Push::InOrder
        } else if pos.seq <= self.last.seq || self.held.contains_key(&pos.seq) {
            Push::Doubled
        } else {
            Push::OutOfOrder
        }
    }

    fn opens_hole(&self, pos: Position) -> bool {
        let pulls = self.pull_sent.is_some() || self.pull_at.is_some();
        pos.seq > self.last.seq + 1 && self.held.is_empty() && !pulls
    }

    /// Takes a page. `false` if it holds an epoch that was not told: a fault.
    pub(super) fn page(
        &mut self,
        events: Vec<Event>,
        more: bool,
        now: Duration,
        applied: &mut Vec<Event>,
    ) -> bool {
        self.pull_sent = None;
        for event in events {
            if event.pos.epoch > self.told {
                return false;
            }
            let pos = event.pos;
            self.take(event, applied);
            self.raise_head(pos, now);
        }
        if more && self.behind_since.is_some() {
            self.pull_at = Some(now);
        }
        true
    }

    /// The rule of gaps: last+1 is applied, at or below last is ignored, higher waits.
    fn take(&mut self, event: Event, applied: &mut Vec<Event>) {
        let seq = event.pos.seq;
        if self.is_dead(event.pos) || seq <= self.last.seq {
            return;
        }
        if seq > self.last.seq + 1 {
            if self.held.len() < HELD_MAX {
                self.held.insert(seq, event);
            }
            return;
        }
        self.apply(event, applied);
        while let Some(next) = self.held.remove(&(self.last.seq + 1)) {
            self.apply(next, applied);
        }
        self.held.retain(|seq, _| *seq > self.last.seq);
    }

    fn apply(&mut self, event: Event, applied: &mut Vec<Event>) {
        self.last = event.pos;
        self.behind_since = None;
        applied.push(event);
    }

    fn raise_head(&mut self, head: Position, now: Duration) {
        if !self.is_dead(head) && head.seq > self.head.seq {
            self.head = head;
            self.active_at = now;
        }
        self.look_behind(now);
    }

    /// Starts the clock of a hole, or stops it when there is none.
    fn look_behind(&mut self, now: Duration) {
        if self.head.seq <= self.last.seq {
            self.behind_since = None;
            self.pull_at = None;
        } else if self.behind_since.is_none() {
            self.behind_since = Some(now);
        }
    }

    /// A pull was refused; it is tried again at `at`.
    pub(super) const fn pull_refused(&mut self, at: Duration) {
        self.pull_sent = None;
        self.pull_at = Some(at);
    }

    /// Whether a pull is due; the caller sends it.
    pub(super) fn must_pull(&mut self, now: Duration) -> bool {
        if self.next_pull().is_none_or(|due| due > now) {
            return false;
        }
        self.pull_sent = Some(now);
        self.pull_at = None;
        self.behind_since = Some(now);
        true
    }

    /// When the next pull is due.
    pub(super) fn next_pull(&self) -> Option<Duration> {
        if let Some(sent) = self.pull_sent {
            return Some(sent + PAGE_TIMEOUT);
        }
        self.pull_at.or_else(|| Some(self.behind_since? + PATIENCE))
    }
}
