//! What unread counts are made of beside the log's own totals: read marks and mentions.
//!
//! Promises, each a case in `tests/it/contract/unread.rs`:
//! - A read mark only moves forward.
//! - [`Unread::record`] is idempotent: recording a batch again changes nothing.
//! - Nothing here is written per member per message, and for a plain message nothing at all.

use async_trait::async_trait;

use super::Result;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::model::unread::ReadMark;

/// What the `unread` consumer learnt from a batch. Positions make each part idempotent: a lower
/// one never replaces a higher one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learnt {
    /// Those who joined: their read mark begins at their `joined` event, with the totals there. A
    /// member may join again, and have sent before.
    pub joined: Vec<(GroupId, UserId, ReadMark)>,
    /// Who was mentioned, where and by whom.
    pub mentions: Vec<(GroupId, UserId, Position, Mention)>,
    /// Where everyone was mentioned, and by whom.
    pub mentions_all: Vec<(GroupId, Position, UserId)>,
}

/// A mention of one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mention {
    /// Who mentioned.
    pub by: UserId,
    /// When.
    pub at: Time,
}

/// Read marks and mentions.
#[async_trait]
pub trait Unread: Send + Sync {
    /// Records what a batch taught.
    ///
    /// # Errors
    /// `Unavailable`: record it again.
    async fn record(&self, learnt: &Learnt) -> Result<()>;

    /// How far a user has read in `groups`, in their order; `None` before the `joined` event was
    /// handled.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn marks(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Option<ReadMark>>>;

    /// Moves a read mark forward; answers the mark that stands afterwards.
    ///
    /// # Errors
    /// `Unavailable`: it may have moved; move it again.
    async fn mark_read(&self, user: UserId, group: GroupId, mark: ReadMark) -> Result<ReadMark>;

    /// Where `user` is mentioned above the given position of each group, own mentions left out, in
    /// the order of `groups`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn mentions(
        &self,
        user: UserId,
        groups: &[(GroupId, Position)],
    ) -> Result<Vec<Vec<Position>>>;
}
