//! The history: every event of every group, durably.
//!
//! Promises, each a case in `tests/it/contract/messages.rs`:
//! - Inserting is idempotent by (group, position); a second entry at a position, of another
//!   sender, `client_id` or digest, is reported, and the first one stays.
//! - What [`Messages::insert`] reported as kept survives the loss of a minority of the store.
//! - Ranges are ordered by position and hold dead positions too: validity is the reader's to
//!   check, by the epoch table.

use async_trait::async_trait;

use super::Result;
use super::log::SendKey;
use crate::model::epoch::Span;
use crate::model::event::Entry;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;

/// What became of one inserted entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is kept: newly, or the same was kept before.
    Kept,
    /// Another entry stands at its position: of another sender, `client_id` or digest. The
    /// digest alone would take two people's "ok" for one.
    Different,
}

/// What many events come to, counted where they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// How many events there are, of every kind.
    pub events: u64,
    /// The highest `sender_count` of everyone who sent one that is counted, in no order.
    pub own: Vec<(UserId, u64)>,
}

/// From what each sender has: how many events, and the highest `sender_count` of those that are
/// counted, 0 if none is.
impl FromIterator<(UserId, u64, u64)> for Sums {
    fn from_iter<I: IntoIterator<Item = (UserId, u64, u64)>>(senders: I) -> Self {
        let mut sums = Self::default();
        for (sender, events, own) in senders {
            sums.events += events;
            if own > 0 {
                sums.own.push((sender, own));
            }
        }
        sums
    }
}

/// Which of the messages that match are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Few {
    /// At most so many, from the lowest position up.
    First(usize),
    /// At most so many, from the highest position down.
    Last(usize),
}

/// The durable store of events.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Keeps entries, of any groups and in any order; answers in their order.
    ///
    /// # Errors
    /// `Unavailable`: some may be kept; insert them all again.
    async fn insert(&self, entries: &[(GroupId, Entry)]) -> Result<Vec<Inserted>>;

    /// Keeps an entry as [`Messages::insert`] does, but a placeholder
    /// ([`Kind::Lost`](crate::model::event::Kind::Lost)) at its position gives way to it. Readers
    /// see the one or the other.
    ///
    /// # Errors
    /// `Unavailable`: it is perhaps kept; restore it again.
    async fn restore(&self, group: GroupId, entry: &Entry) -> Result<Inserted>;

    /// Entries with `after < pos`, and `pos ≤ upto` if given, ascending, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` for an entry that cannot be read.
    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>>;

    /// Entries below `before` (all if `None`), the highest `limit` of them, ascending.
    ///
    /// # Errors
    /// As [`Messages::range`].
    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>>;

    /// The positions with `after < pos`, ascending, at most `limit`: what contiguity is
    /// computed from.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn positions(
        &self,
        group: GroupId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Position>>;

    /// The highest entry of each group, of whatever kind; `None` where there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn newest(&self, groups: &[GroupId]) -> Result<Vec<Option<Entry>>>;

    /// The newest entry of each group whose kind is counted and whose position is at most the
    /// given one; `None` where there is none.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn last_messages(&self, groups: &[(GroupId, Position)]) -> Result<Vec<Option<Entry>>>;

    /// Every entry kept under this key in the group, valid or dead, at or above `from`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn find_sent(&self, group: GroupId, key: SendKey, from: Position) -> Result<Vec<Entry>>;

    /// Some messages of `sender` with `after < pos ≤ upto`, valid or dead, as (position,
    /// `sender_count`) pairs in the order of `few`. What it costs does not grow with what others
    /// sent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn sent_between(
        &self,
        group: GroupId,
        sender: UserId,
        after: Position,
        upto: Position,
        few: Few,
    ) -> Result<Vec<(Position, u64)>>;

    /// What the events at the positions of `span` come to. The store reads them all: ask for a
    /// bounded span.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn sums(&self, group: GroupId, span: Span) -> Result<Sums>;
}
