//! One chat client as a pure state machine: frames and moments in, [`Action`]s out, no I/O. It
//! keeps the rules that protocol.md sets for every client, so that a run fails where a real
//! client would show a person something wrong.
//!
//! - [`feed`]: one group: positions, holes, epochs, pulls
//! - [`outbox`]: what was said and is not settled
//! - [`reads`]: how far one has read
//!
//! Moments are durations since the start of the run.

mod feed;
mod outbox;
mod reads;
mod frames;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::random::Random;
use super::wire::{ClientFrame, Event, Said};
use crate::model::client_id::ClientId;
use crate::model::id::GroupId;
use crate::model::position::{Position, Seq};
use feed::Feed;
use outbox::Outbox;
use reads::Reads;

/// How long the welcome may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest pause before connecting again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How many heartbeats without a frame mean that the link is dead.
const SILENT_BEATS: f64 = 2.2;
/// The heartbeat until the welcome tells it.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// How many cursors a hello may carry, and how many events a page (protocol.md).
const CURSORS_MAX: usize = 500;
const PAGE_EVENTS: u32 = 200;
/// The pause after a refusal that names none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the one who drives the machine must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a socket; `elsewhere` = on another node, if there is one.
    Connect {
        /// The last node failed or goes away.
        elsewhere: bool,
    },
    /// Send this text frame.
    Send(String),
    /// Drop the socket.
    Close,
    /// Ask for a new access token by REST.
    Renew,
    /// Something happened that is worth counting.
    Note(Note),
}

/// What is worth counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Message `k` has its place, for the first time since that was last true.
    Accepted(usize),
    /// Message `k` is durable at a position.
    Stored(usize, Position),
    /// Message `k` was refused for good.
    Refused(usize, String),
    /// A message was sent again.
    Again,
    /// The next event of a group.
    Applied(GroupId, Event),
    /// What was applied of a group from `start` on never happened.
    Dropped(GroupId, Seq),
    /// One position was pushed twice on one socket.
    Doubled(GroupId, Position),
    /// A position was pushed after a higher one.
    OutOfOrder(GroupId, Position),
    /// Events were left out of a push, without a word.
    Hole,
    /// A welcome on a socket that is not the first one.
    Reconnected,
    /// A later epoch of a group was told.
    EpochTold,
    /// The node goes away and said so.
    Goaway,
    /// The queue overflowed.
    Resync,
    /// A page was asked for.
    Pulled,
    /// The server broke the protocol.
    Fault(String),
    /// The client may not come back.
    Ended(String),
}

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits until it may connect.
    Waiting { until: Duration, elsewhere: bool },
    /// A socket is being opened.
    Connecting,
    /// The welcome must come by then.
    Greeting { until: Duration },
    /// Frames flow.
    Live,
    /// For good.
    Ended,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    phase: Phase,
    device: String,
    token: String,
    /// When the token should be renewed; `None` while that is being done.
    renew_at: Option<Duration>,
    /// The server said that the token is no good: no socket is opened with it.
    token_refused: bool,
    feeds: BTreeMap<GroupId, Feed>,
    outbox: Outbox,
    reads: Reads,
    pulls: HashMap<u64, GroupId>,
    next_id: u64,
    heartbeat: Duration,
    heard_at: Duration,
    leave_at: Option<Duration>,
    attempts: u32,
    welcomes: u64,
    random: Random,
    actions: Vec<Action>,
}

impl Client {
    /// A client that connects at its first tick. The token is renewed at `renew_at`.
    pub fn new(device: String, token: String, renew_at: Duration, random: Random) -> Self {
        Self {
            phase: Phase::Waiting {
                until: Duration::ZERO,
                elsewhere: false,
            },
            device,
            token,
            renew_at: Some(renew_at),
            token_refused: false,
            feeds: BTreeMap::new(),
            outbox: Outbox::default(),
            reads: Reads::default(),
            pulls: HashMap::new(),
            next_id: 1,
            heartbeat: HEARTBEAT,
            heard_at: Duration::ZERO,
            leave_at: None,
            attempts: 0,
            welcomes: 0,
            random,
            actions: Vec::new(),
        }
    }

    /// What is to be done, in order. Empty until the next input.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Whether frames flow.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// The newest access token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether every message and every read was settled.
    pub fn is_settled(&self) -> bool {
        self.outbox.is_empty() && self.reads.is_settled()
    }

    /// The numbers of the messages that are not settled.
    pub fn unsettled(&self) -> impl Iterator<Item = usize> + '_ {
        self.outbox.unsettled().map(|entry| entry.k)
    }

    /// The read cursors that the server answered.
    pub fn cursors(&self) -> impl Iterator<Item = (GroupId, Position)> + '_ {
        self.reads.answered()
    }

    /// Says something: now if the socket is open, else as soon as it is.
    pub fn say(
        &mut self,
        k: usize,
        group: GroupId,
        client_id: ClientId,
        text: String,
        now: Duration,
    ) {
        self.outbox.add(k, group, client_id, text);
        self.tick(now);
    }

    /// Has read up to `pos`, which may have been lost since it was seen.
    pub fn read(&mut self, group: GroupId, pos: Position, now: Duration) {
        let feed = self.feeds.get(&group);
        let pos = feed.map_or(pos, |feed| feed.clamp(pos));
        self.reads.want(group, pos);
        self.tick(now);
    }

    /// The socket is open: greets.
    pub fn opened(&mut self, now: Duration) {
        self.phase = Phase::Greeting {
            until: now + WELCOME_TIMEOUT,
        };
        self.heard_at = now;
        let mut held: Vec<_> = self.feeds.iter().collect();
        held.sort_by_key(|(_, feed)| std::cmp::Reverse(feed.active_at()));
        let newest = held.into_iter().take(CURSORS_MAX);
        let cursors = newest.map(|(group, feed)| (*group, feed.last())).collect();
        let (token, device) = (self.token.clone(), self.device.clone());
        self.send(&ClientFrame::Hello {
            token,
            device,
            cursors,
        });
    }

    /// The socket could not be opened, or is gone, with the close code if there was one.
    pub fn closed(&mut self, code: Option<u16>, now: Duration) {
        match code {
            Some(1009) => {
                let entry = self.outbox.drop_newest_try();
                self.note_refused(entry, "too_large");
            }
            Some(4401) => self.refuse_token(now),
            Some(code @ (4403 | 4409)) => return self.end(format!("closed with {code}")),
            _ => {}
        }
        self.socket_lost(now);
    }

    /// The token is no good: a new one is asked for now, unless that is being done.
    fn refuse_token(&mut self, now: Duration) {
        self.token_refused = true;
        self.renew_at = self.renew_at.map(|_| now);
    }

    /// A new access token came.
    pub fn renewed(&mut self, token: String, next: Duration, now: Duration) {
        self.token.clone_from(&token);
        self.token_refused = false;
        self.renew_at = Some(next);
        if self.is_live() {
            let id = self.id();
            self.send(&ClientFrame::Token { id, token });
        }
        self.tick(now);
    }

    /// No new token came; `for_good` = the server says that the session is over.
    pub fn not_renewed(&mut self, for_good: bool, now: Duration) {
        if for_good {
            return self.end("the session is over".to_owned());
        }
        self.renew_at = Some(now + RETRY_AFTER);
    }

    /// When [`Client::tick`] has something to do again.
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Waiting { until, .. } => (!self.token_refused).then_some(until),
            Phase::Greeting { until } => Some(until),
            Phase::Live => self.live_deadline(),
            Phase::Connecting | Phase::Ended => None,
        };
        let renew = self.renew_at.filter(|_| self.phase != Phase::Ended);
        [phase, renew].into_iter().flatten().min()
    }

    fn live_deadline(&self) -> Option<Duration> {
        let silent = Some(self.heard_at + self.heartbeat.mul_f64(SILENT_BEATS));
        let pulls = self.feeds.values().filter_map(Feed::next_pull).min();
        let due = [
            self.outbox.next_due(),
            self.reads.next_due(),
            pulls,
            self.leave_at,
            silent,
        ];
        due.into_iter().flatten().min()
    }

    /// Does what is due by `now`.
    pub fn tick(&mut self, now: Duration) {
        self.tick_renewal(now);
        match self.phase {
            Phase::Waiting { until, elsewhere } if until <= now && !self.token_refused => {
                self.phase = Phase::Connecting;
                self.actions.push(Action::Connect { elsewhere });
            }
            Phase::Greeting { until } if until <= now => self.drop_socket(now),
            Phase::Live => self.tick_live(now),
            Phase::Waiting { .. } | Phase::Connecting | Phase::Greeting { .. } | Phase::Ended => {}
        }
    }

    fn tick_renewal(&mut self, now: Duration) {
        if self.phase != Phase::Ended && self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            self.actions.push(Action::Renew);
        }
    }

    fn tick_live(&mut self, now: Duration) {
        let silent = now >= self.heard_at + self.heartbeat.mul_f64(SILENT_BEATS);
        if silent || self.leave_at.is_some_and(|at| at <= now) {
            return self.drop_socket(now);
        }
        self.send_due(now);
        self.read_due(now);
        self.pull_due(now);
    }

    fn send_due(&mut self, now: Duration) {
        let feeds = &self.feeds;
        let head_of = |group| feeds.get(&group).map_or(Position::START, Feed::head);
        let next_id = ids(&mut self.next_id);
        for (id, entry) in self.outbox.due(now, next_id, head_of) {
            if entry.again.is_some() {
                self.note(Note::Again);
            }
            self.send(&ClientFrame::Send {
                id,
                group: entry.group,
                client_id: entry.client_id,
                body: Said::Text { text: entry.text },
                again: entry.again,
            });
        }
    }

    fn read_due(&mut self, now: Duration) {
        for (id, group, pos) in self.reads.due(now, ids(&mut self.next_id)) {
            self.send(&ClientFrame::Read { id, group, pos });
        }
    }

    fn pull_due(&mut self, now: Duration) {
        let due = self
            .feeds
            .iter_mut()
            .filter_map(|(group, feed)| feed.must_pull(now).then(|| (*group, feed.last())));
        for (group, after) in due.collect::<Vec<_>>() {
            let id = self.id();
            self.pulls.insert(id, group);
            self.note(Note::Pulled);
            self.send(&ClientFrame::Pull {
                id,
                group,
                after,
                limit: PAGE_EVENTS,
            });
        }
    }

    /// The socket is useless; another one is opened.
    fn drop_socket(&mut self, now: Duration) {
        self.actions.push(Action::Close);
        self.socket_lost(now);
    }

    fn socket_lost(&mut self, now: Duration) {
        if self.phase == Phase::Ended {
            return;
        }
        let was_live = self.is_live();
        let leave_at = self.leave_at.take();
        let until = leave_at.map_or_else(|| now + self.backoff(), |at| at.max(now));
        self.phase = Phase::Waiting {
            until,
            elsewhere: leave_at.is_some() || !was_live,
        };
        self.pulls.clear();
        self.outbox.socket_lost();
        self.reads.socket_lost();
        self.feeds.values_mut().for_each(Feed::socket_lost);
    }

    /// Doubles with every attempt that met no welcome; a random half, so that many clients that
    /// were lost together do not come back together.
    fn backoff(&mut self) -> Duration {
        let (first, longest) = BACKOFF;
        let pause = first
            .saturating_mul(1 << self.attempts.min(10))
            .min(longest);
        self.attempts += 1;
        let half = pause / 2;
        let jitter = usize::try_from(half.as_millis()).unwrap_or(0);
        half + Duration::from_millis(self.random.below(jitter) as u64)
    }

    fn end(&mut self, reason: String) {
        self.phase = Phase::Ended;
        self.note(Note::Ended(reason));
        self.actions.push(Action::Close);
    }

    fn id(&mut self) -> u64 {
        ids(&mut self.next_id)()
    }

    fn send(&mut self, frame: &ClientFrame) {
        self.actions.push(Action::Send(frame.encode()));
    }

    fn note(&mut self, note: Note) {
        self.actions.push(Action::Note(note));
    }

    fn note_refused(&mut self, entries: impl IntoIterator<Item = outbox::Entry>, code: &str) {
        for entry in entries {
            self.note(Note::Refused(entry.k, code.to_owned()));
        }
    }
}

fn ids(next: &mut u64) -> impl FnMut() -> u64 + '_ {
    move || {
        *next += 1;
        *next - 1
    }
}
