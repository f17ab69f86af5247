//! One client, as the push path sees it: its queue, and what it is owed.
//!
//! A push that does not fit is not queued: the group is noted as lagging, and once the queue is
//! empty the client is told by `resync` which events to pull. While a socket arrives its pushes
//! are held back, so that the events it missed come first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::hints::count_dropped;
use super::send_queue::{Pushed, SendQueue, Unsent};
use crate::access::Caller;
use crate::model::id::GroupId;
use crate::model::position::{Epoch, Position, Seq};
use crate::protocol::client::Level;
use crate::protocol::code::close::SLOW_READER;
use crate::protocol::server::ServerFrame;
use crate::protocol::websocket::close::{CloseCode, CloseReason};
use crate::protocol::websocket::encode::{close_frame, text_frame};
use crate::telemetry::Metrics;

/// The number of a socket on this node; never used twice.
pub type SocketId = u64;

/// One connected client that said `hello`.
pub struct Socket {
    /// Its number.
    pub id: SocketId,
    /// Who it is.
    pub caller: Caller,
    /// Which tab or installation it is.
    pub device: String,
    /// What it is still to be sent.
    pub queue: std::sync::Arc<SendQueue>,
    metrics: Metrics,
    flow: Mutex<Flow>,
    /// When anything was last received, in seconds of the hub's clock.
    seen_s: AtomicU64,
    /// When the authorisation ends, in milliseconds since the Unix epoch.
    authorised_until: AtomicI64,
    /// Whether the welcome was sent, which is the first frame.
    is_welcomed: AtomicBool,
}

/// What a socket is owed beside its queue.
#[derive(Default)]
struct Flow {
    held: Option<Held>,
    lagging: BTreeMap<GroupId, Lag>,
    levels: HashMap<GroupId, Level>,
    moved: BTreeSet<GroupId>,
}

/// What is held back while the socket arrives, in order.
#[derive(Default)]
struct Held {
    items: Vec<HeldItem>,
    bytes: usize,
    gone: Vec<GroupId>,
}

enum HeldItem {
    Events(Push),
    Epochs(GroupId, Vec<(Epoch, Seq)>),
}

/// What one group's listener could not be told.
#[derive(Default)]
struct Lag {
    /// Epochs that it was not told of.
    rows: Vec<(Epoch, Seq)>,
    /// The events that were dropped: behind the first position, up to the second.
    dropped: Option<(Position, Position)>,
}

/// Events of one group in one frame.
#[derive(Debug, Clone)]
pub struct Push {
    /// The group.
    pub group: GroupId,
    /// The position before the first event.
    pub from: Position,
    /// The last event.
    pub last: Position,
    /// The frame, shared by all sockets.
    pub frame: Bytes,
    /// Whether [`SendQueue::release`] follows soon, so that this frame may wait for more.
    pub may_wait: bool,
}

impl Socket {
    /// A socket that holds its pushes back until [`Socket::release`].
    pub fn arriving(
        id: SocketId,
        caller: Caller,
        device: String,
        queue: std::sync::Arc<SendQueue>,
        authorised_until: i64,
        metrics: Metrics,
    ) -> Self {
        let flow = Flow {
            held: Some(Held::default()),
            ..Flow::default()
        };
        Self {
            id,
            caller,
            device,
            queue,
            metrics,
            flow: Mutex::new(flow),
            seen_s: AtomicU64::new(u64::MAX),
            authorised_until: AtomicI64::new(authorised_until),
            is_welcomed: AtomicBool::new(false),
        }
    }

    /// Sends a frame that answers or concerns this client alone. A client that lets even these
    /// pile up does not read, and is closed.
    pub fn send(&self, frame: &ServerFrame<'_>) {
        self.send_text(&frame.encode());
    }

    /// As [`Socket::send`], for a frame that is encoded already.
    pub fn send_text(&self, text: &[u8]) {
        self.send_raw(&text_frame(text));
    }

    /// As [`Socket::send`], for a frame with its WebSocket header.
    pub fn send_raw(&self, frame: &Bytes) {
        match self.queue.push(frame) {
            Pushed::Sent | Pushed::Queued => self.metrics.frames_sent.inc(),
            Pushed::Full => self.close(SLOW_READER, "slow reader"),
            Pushed::Closed => {}
        }
    }

    /// Pushes events, in order.
    pub fn push(&self, push: &Push) {
        let mut flow = self.flow();
        match flow.levels.get(&push.group) {
            None | Some(Level::Full) => self.push_at(&mut flow, push),
            Some(Level::Head) => drop(flow.moved.insert(push.group)),
            Some(Level::None) => {}
        }
    }

    /// Queues a push, or holds it back: as much as the queue would take.
    fn push_at(&self, flow: &mut Flow, push: &Push) {
        if let Some(lag) = flow.lagging.get_mut(&push.group) {
            return lag.drop_events(push);
        }
        if let Some(held) = &mut flow.held {
            if held.bytes + push.frame.len() <= self.queue.bytes_max() {
                held.bytes += push.frame.len();
                held.items.push(HeldItem::Events(push.clone()));
                return;
            }
        } else {
            match self.enqueue(push) {
                Pushed::Sent | Pushed::Queued => return self.metrics.frames_sent.inc(),
                Pushed::Closed => return,
                Pushed::Full => {}
            }
        }
        self.metrics.socket_overflows.inc();
        let lag = flow.lagging.entry(push.group).or_default();
        lag.drop_events(push);
    }

    /// What waits for company is written early when there is no more room.
    fn enqueue(&self, push: &Push) -> Pushed {
        if push.may_wait {
            match self.queue.hold(&push.frame) {
                Pushed::Full => self.queue.release(),
                pushed => return pushed,
            }
        }
        self.queue.push(&push.frame)
    }

    /// Pushes what is told in passing of a group, unless anything is before it.
    pub fn hint(&self, group: GroupId, frame: &Bytes) {
        let flow = self.flow();
        if !matches!(flow.levels.get(&group), None | Some(Level::Full)) {
            return;
        }
        let is_free = self.is_welcomed() && flow.held.is_none() && flow.lagging.is_empty();
        match is_free.then(|| self.queue.offer(frame)) {
            Some(Pushed::Sent | Pushed::Queued) => self.metrics.frames_sent.inc(),
            Some(Pushed::Full) | None => count_dropped(&self.metrics, "socket", 1),
            Some(Pushed::Closed) => {}
        }
    }

    /// Tells epochs of a group before any event of theirs; never dropped, but told late with the
    /// `resync` when the queue is full.
    pub fn tell_epochs(&self, group: GroupId, rows: &[(Epoch, Seq)]) {
        self.tell_epochs_at(&mut self.flow(), group, rows);
    }

    fn tell_epochs_at(&self, flow: &mut Flow, group: GroupId, rows: &[(Epoch, Seq)]) {
        if let Some(lag) = flow.lagging.get_mut(&group) {
            lag.rows.extend_from_slice(rows);
        } else if let Some(held) = &mut flow.held {
            held.items.push(HeldItem::Epochs(group, rows.to_vec()));
        } else if self.queue.push(&epoch_frame(group, rows)) == Pushed::Full {
            let lag = flow.lagging.entry(group).or_default();
            lag.rows.extend_from_slice(rows);
        }
    }

    /// Tells the epochs of a group that were not told yet for want of room; answers whether none is
    /// owed any more. Those that are held back have their place behind events.
    pub fn catch_up_epochs(&self, group: GroupId) -> bool {
        self.catch_up_epochs_at(&mut self.flow(), group)
    }

    fn catch_up_epochs_at(&self, flow: &mut Flow, group: GroupId) -> bool {
        let is_held = flow
            .held
            .as_ref()
            .is_some_and(|held| held.has_epochs(group));
        let Some(lag) = flow.lagging.get_mut(&group) else {
            return !is_held;
        };
        if !lag.rows.is_empty() && self.queue.push(&epoch_frame(group, &lag.rows)) != Pushed::Full {
            lag.rows.clear();
        }
        !is_held && lag.rows.is_empty()
    }

    /// Tells what groups are at for the user; answers whether it was told. Before the welcome, and
    /// while a group is added, nothing is.
    pub fn tell_heads(&self, heads: &[(GroupId, Position, u64, u64)]) -> bool {
        let mut flow = self.flow();
        if !self.is_welcomed() || flow.held.is_some() {
            return false;
        }
        let mut groups = heads.iter().map(|(group, ..)| *group);
        match groups.all(|group| self.catch_up_epochs_at(&mut flow, group)) {
            true => self.send(&ServerFrame::Heads { heads }),
            false => self.close(SLOW_READER, "slow reader"),
        }
        true
    }

    /// Holds pushes back again, while a group is added.
    pub fn hold(&self) {
        self.flow().held.get_or_insert_default();
    }

    /// Sends what was held back, less what the client was told to have: pushes up to `heads`.
    pub fn release(&self, heads: &HashMap<GroupId, Position>) {
        self.is_welcomed.store(true, Ordering::Relaxed);
        let mut flow = self.flow();
        let held = flow.held.take().unwrap_or_default();
        let is_known = |push: &Push| {
            heads
                .get(&push.group)
                .is_some_and(|head| push.last <= *head)
        };
        for item in held.items {
            match item {
                HeldItem::Events(push) if is_known(&push) => {}
                HeldItem::Events(push) => self.push_at(&mut flow, &push),
                HeldItem::Epochs(group, rows) => self.tell_epochs_at(&mut flow, group, &rows),
            }
        }
        for group in held.gone {
            self.send(&ServerFrame::Gone { group });
        }
        for (group, head) in heads {
            // Dropped pushes that the client was told to have are no longer owed.
            flow.lagging
                .retain(|lagging, lag| lagging != group || lag.reaches_above(*head));
        }
    }

    /// Whether it has its welcome, before which nothing else may come.
    pub fn is_welcomed(&self) -> bool {
        self.is_welcomed.load(Ordering::Relaxed)
    }

    /// Whether dropped pushes are owed a `resync`.
    pub fn is_lagging(&self) -> bool {
        !self.flow().lagging.is_empty()
    }

    /// Whether pushes of this group were dropped and the client was not told yet.
    pub fn lags_in(&self, group: GroupId) -> bool {
        self.flow().lagging.contains_key(&group)
    }

    /// Tells the client of dropped pushes, once its queue is empty.
    pub fn catch_up(&self) {
        let mut flow = self.flow();
        while flow.held.is_none() && self.queue.is_idle() {
            let Some((group, lag)) = flow.lagging.pop_first() else {
                return;
            };
            if !lag.rows.is_empty() {
                self.send_raw(&epoch_frame(group, &lag.rows));
            }
            if let Some((from, head)) = lag.dropped {
                self.send(&ServerFrame::Resync { group, from, head });
            }
        }
    }

    /// Sets how much of a group is pushed.
    pub fn set_level(&self, group: GroupId, level: Level) {
        let mut flow = self.flow();
        match level {
            Level::Full => drop(flow.levels.remove(&group)),
            Level::Head | Level::None => drop(flow.levels.insert(group, level)),
        }
    }

    /// The groups followed by head alone that moved since the last call.
    pub fn take_moved(&self) -> Vec<GroupId> {
        std::mem::take(&mut self.flow().moved).into_iter().collect()
    }

    /// Groups whose heads could not be told, if they are still followed by head alone.
    pub fn note_moved(&self, groups: &[GroupId]) {
        let mut flow = self.flow();
        let Flow { levels, moved, .. } = &mut *flow;
        let by_head = |group: &&GroupId| levels.get(group) == Some(&Level::Head);
        moved.extend(groups.iter().filter(by_head));
    }

    /// Forgets a group that the client left.
    pub fn forget(&self, group: GroupId) {
        let mut flow = self.flow();
        flow.lagging.remove(&group);
        flow.levels.remove(&group);
        flow.moved.remove(&group);
    }

    /// Tells that a membership ended, behind what was pushed of its group.
    pub fn tell_gone(&self, group: GroupId) {
        let mut flow = self.flow();
        match &mut flow.held {
            Some(held) => held.gone.push(group),
            None => self.send(&ServerFrame::Gone { group }),
        }
    }

    /// Drops what is held back of a group that the client turned out not to be in.
    pub fn drop_held(&self, group: GroupId) {
        if let Some(held) = &mut self.flow().held {
            held.items.retain(|item| item.group() != group);
            held.bytes = held.items.iter().map(HeldItem::bytes).sum();
        }
    }

    /// Closes with one of our codes; what is queued is dropped.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.close_with(code, reason, Unsent::Discard);
    }

    /// Closes with one of our codes.
    pub fn close_with(&self, code: CloseCode, reason: &str, unsent: Unsent) {
        close_queue(
            &self.queue,
            &self.metrics,
            CloseReason { code, reason },
            unsent,
        );
    }

    /// Notes a sign of life at this second of the hub's clock.
    pub fn note_seen(&self, now_s: u64) {
        self.seen_s.store(now_s, Ordering::Relaxed);
    }

    /// When anything was last received; `u64::MAX` before the first note.
    pub fn seen_s(&self) -> u64 {
        self.seen_s.load(Ordering::Relaxed)
    }

    /// Renews the authorisation up to this moment, in milliseconds since the Unix epoch.
    pub fn authorise_until(&self, millis: i64) {
        self.authorised_until.store(millis, Ordering::Relaxed);
    }

    /// When the authorisation ends, in milliseconds since the Unix epoch.
    pub fn authorised_until(&self) -> i64 {
        self.authorised_until.load(Ordering::Relaxed)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn has_epochs(&self, group: GroupId) -> bool {
        let of_group = |item: &HeldItem| matches!(item, HeldItem::Epochs(of, _) if *of == group);
        self.items.iter().any(of_group)
    }
}

impl HeldItem {
    const fn group(&self) -> GroupId {
        match self {
            Self::Events(push) => push.group,
            Self::Epochs(group, _) => *group,
        }
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Events(push) => push.frame.len(),
            Self::Epochs(..) => 0,
        }
    }
}

impl Lag {
    fn drop_events(&mut self, push: &Push) {
        let from = self.dropped.map_or(push.from, |(from, _)| from);
        self.dropped = Some((from, push.last));
    }

    /// Whether anything is owed that a client at `head` does not have.
    fn reaches_above(&self, head: Position) -> bool {
        let owes_epoch = self.rows.iter().any(|(epoch, _)| *epoch > head.epoch);
        owes_epoch || self.dropped.is_some_and(|(_, last)| last > head)
    }
}

/// Closes a connection, and counts that, unless it is closed already.
pub fn close_queue(queue: &SendQueue, metrics: &Metrics, why: CloseReason<'_>, unsent: Unsent) {
    if queue.is_closed() {
        return;
    }
    let code = why.code.get().to_string();
    metrics.sockets_closed.with_label_values(&[&code]).inc();
    queue.close(&close_frame(Some(why)), unsent);
}

/// The frame that tells epochs of a group.
pub(super) fn epoch_frame(group: GroupId, rows: &[(Epoch, Seq)]) -> Bytes {
    let groups = BTreeMap::from([(group, rows.to_vec())]);
    text_frame(&ServerFrame::Epoch { groups: &groups }.encode())
}

#[cfg(test)]
mod tests;
