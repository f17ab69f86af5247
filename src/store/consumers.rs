//! Consumers of the logs: every event is handled at least once by every consumer, whatever
//! process dies when (dataflow.md, "Two consumer groups, one runner").
//!
//! Promises, each a case in `tests/it/contract/consumers.rs`:
//! - Events of one group come to one consumer in the order of their positions.
//! - What was taken and not acknowledged comes again: to this process after
//!   [`ConsumerLog::release`], to another one when this process' lease ran out.
//! - An acknowledged event does not come again to the same consumer, unless the log was
//!   re-opened.
//! - Two live processes do not take from the same partition, but for the seconds in which a
//!   lease changes hands: effects must be idempotent.

use async_trait::async_trait;

use super::Result;
use crate::model::event::Entry;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::model::trace::Trace;

/// A consumer of the logs, by its place in what the product does. Each is a Redis consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// Writes events to the message store.
    Persist,
    /// Keeps mentions, and where members began.
    Unread,
}

impl Consumer {
    /// Every consumer.
    pub const ALL: &'static [Self] = &[Self::Persist, Self::Unread];

    /// The name, as in metrics and in Redis.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persist => "persist",
            Self::Unread => "unread",
        }
    }

    /// The consumer with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }
}

/// What stands where an event should, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Why, in words.
    pub reason: String,
    /// What is there, as [`Delivery::payload`] tells it; empty if nothing is.
    pub payload: Vec<u8>,
}

/// One event, or what is there in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The group.
    pub group: GroupId,
    /// Where it stands.
    pub pos: Position,
    /// The event, or what is there instead.
    pub entry: std::result::Result<Entry, Unreadable>,
    /// What its append belonged to, if the log kept that.
    pub trace: Option<Trace>,
}

impl Delivery {
    /// All that is known of the event, to be kept with a dead letter: the event as it goes over
    /// the wire ([`Entry::write_json`]), so that [`Entry::read_json`] makes the same one of it.
    pub fn payload(&self) -> Vec<u8> {
        match &self.entry {
            Ok(entry) => {
                let mut json = Vec::new();
                entry.write_json(&mut json);
                json
            }
            Err(unreadable) => unreadable.payload.clone(),
        }
    }
}

/// Takes events for consumers and remembers what was handled.
#[async_trait]
pub trait ConsumerLog: Send + Sync {
    /// Waits for events in the partitions that this process holds a lease of, and takes up to
    /// `max`. An empty answer is possible at any time. Cancel safe: what was taken and not
    /// returned comes again.
    ///
    /// # Errors
    /// `Unavailable`; the next call reconnects.
    async fn take(&self, consumer: Consumer, max: usize) -> Result<Vec<Delivery>>;

    /// Marks events as handled.
    ///
    /// # Errors
    /// `Unavailable`: they may come again.
    async fn ack(&self, consumer: Consumer, done: &[(GroupId, Position)]) -> Result<()>;

    /// Gives back everything that was taken by `consumer` and not acknowledged: the next
    /// [`ConsumerLog::take`] begins with it.
    async fn release(&self, consumer: Consumer);

    /// Gives the leases up at once, so that others need not wait for them to run out.
    async fn resign(&self);
}
