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

/// A consumer of the logs, by its place in what the product does. Each is a Redis consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// Writes events to the message store.
    Persist,
    /// Keeps durable heads, own totals and mentions.
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
}

/// One event, or what is there in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The group.
    pub group: GroupId,
    /// Where it stands.
    pub pos: Position,
    /// The event, or why it cannot be read.
    pub entry: std::result::Result<Entry, String>,
}

impl Delivery {
    /// What is known of the event, to be kept with a dead letter; empty if nothing is.
    pub fn payload(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| &entry.fixed)
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
