//! What a user's next socket needs to know, kept beside the live logs: a warm resume asks neither
//! the directory nor the message store, on any node.
//!
//! A card is a copy, and never newer than what it copies. It is used only while the logs know of no
//! change of rights above the one each membership was read under. Whoever changes what a card holds
//! says so *before* the change, and what was read before that cannot fill the card any more.
//!
//! Promises, each a case in `tests/it/contract/cards.rs`:
//! - A card that is answered is the one that was filled, with the marks and mentions told since.
//! - Between a beginning and its end a mark is not on the card; of two that overlap the later counts.
//! - A fill is refused when anything was told after its version was answered.
//! - While a change is under way no card is filled.

use async_trait::async_trait;

use super::Result;
use super::unread::Learnt;
use crate::model::group::Membership;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::Position;
use crate::model::unread::ReadMark;
use crate::model::user::User;

/// A user, and the user's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The user.
    pub user: User,
    /// All groups in which the user is a member, in no order.
    pub groups: Vec<CardGroup>,
}

/// One group of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardGroup {
    /// The group.
    pub group: GroupId,
    /// How many members the group has.
    pub members: u64,
    /// The membership.
    pub membership: Membership,
    /// The last change of rights that the membership was read under.
    pub rights: Position,
    /// How far the user has read.
    pub mark: ReadMark,
    /// Where others mentioned the user above that, in no order.
    pub mentions: Vec<Position>,
    /// Since when mentions of all are known, as [`Cards::begin`] answered.
    pub begun: String,
}

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What a fill must name; `None` where no cards are kept.
    pub version: Option<u64>,
    /// The card, if all of it can be relied on.
    pub card: Option<Card>,
}

/// The cards of all users.
#[async_trait]
pub trait Cards: Send + Sync {
    /// The card of a user; with it the mentions of all that were told since.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn get(&self, user: UserId) -> Result<Kept>;

    /// From now on mentions of all in these groups are kept. Answers since when, in their order: to
    /// be asked before the message store is, for mentions of before.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn begin(&self, groups: &[GroupId]) -> Result<Vec<String>>;

    /// Keeps a card that was read after `version` was answered, unless something was told since.
    /// Answers whether it was kept.
    ///
    /// # Errors
    /// `Unavailable`: it may be kept.
    async fn fill(&self, version: u64, card: &Card) -> Result<bool>;

    /// What this card copies is about to change: it is empty, and stays so until
    /// [`Cards::let_go`], for half a minute at most.
    ///
    /// # Errors
    /// `Unavailable`: the change must wait.
    async fn hold(&self, user: UserId) -> Result<()>;

    /// The change is over. Of several at a time the last one counts.
    ///
    /// # Errors
    /// `Unavailable`: the card stays empty for longer than it must.
    async fn let_go(&self, user: UserId) -> Result<()>;

    /// The read mark of a user in a group is about to move. Answers a number for
    /// [`Cards::end_mark`].
    ///
    /// # Errors
    /// `Unavailable`: it must not move yet.
    async fn begin_mark(&self, user: UserId, group: GroupId) -> Result<u64>;

    /// The read mark stands here now.
    ///
    /// # Errors
    /// `Unavailable`: the card goes without the mark.
    async fn end_mark(
        &self,
        user: UserId,
        group: GroupId,
        number: u64,
        mark: ReadMark,
    ) -> Result<()>;

    /// These mentions were recorded.
    ///
    /// # Errors
    /// `Unavailable`: tell them again.
    async fn note(&self, learnt: &Learnt) -> Result<()>;

    /// The read marks in these partitions that cards hold, whether a card may be relied on or not:
    /// each was made once. Reads all keys there are: only for mending.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn marks(&self, _partitions: &[Partition]) -> Result<Vec<(UserId, GroupId, ReadMark)>> {
        Ok(Vec::new())
    }
}
