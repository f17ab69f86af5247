//! People, merchants, groups and members: the truth about who may do what. Passwords and log-ins
//! are in [`super::accounts`].
//!
//! Promises, each a case in `tests/it/contract/directory.rs`:
//! - A change of membership and its outbox rows are one transaction.
//! - Every read sees every change that returned before it, from any process.
//! - A member whose `joined` event is not appended yet is not a member to any read but
//!   [`Directory::due`].
//! - The merchant is part of every key and query that concerns a group of it.

use async_trait::async_trait;

use super::Result;
use crate::model::client_id::ClientId;
use crate::model::event::Content;
use crate::model::group::{Group, Member, Membership};
use crate::model::id::{GroupId, MerchantId, UserId};
use crate::model::merchant::Merchant;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::time::Time;
use crate::model::user::User;

/// A promise that an event will be appended: one row of the outbox. Its id is the event's
/// `client_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The row, and the idempotency key of its event.
    pub id: ClientId,
    /// The log it goes to.
    pub group: GroupId,
    /// Who acted.
    pub actor: UserId,
    /// What happened.
    pub content: Content,
    /// When it was decided.
    pub at: Time,
}

/// A group to be made.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// The group.
    pub id: GroupId,
    /// The merchant; the creator must be staff of it.
    pub merchant: MerchantId,
    /// The name shown.
    pub name: String,
    /// When.
    pub at: Time,
    /// The creator becomes its owner.
    pub creator: UserId,
    /// Others become members.
    pub members: Vec<UserId>,
}

/// What became of a change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is decided; these rows are to be appended, in this order. Older rows about the same
    /// person (or the group's settings) that nobody noted as appended come first, so that the
    /// log hears of decisions in their order. Empty if nothing changed.
    Rows(Vec<OutboxRow>),
    /// A named person does not exist. Nothing was written.
    UnknownUser(UserId),
    /// The person is not a member. Nothing was written.
    NotMember,
    /// The person's role now is not what the caller saw: decide again. Nothing was written.
    RoleMoved,
    /// The group would be left without an owner. Nothing was written.
    LastOwner,
    /// The group would have more members than it may. Nothing was written.
    Full,
}

/// The truth about people and groups.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The accounts with these ids, in no order; unknown ones are left out. At most 500.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>>;

    /// Of `ids` (at most 500), those that share a group or a merchant with `viewer`, and the viewer.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn visible_users(&self, viewer: UserId, ids: &[UserId]) -> Result<Vec<User>>;

    /// The merchants that `user` is staff of.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn merchants_of(&self, user: UserId) -> Result<Vec<Merchant>>;

    /// Makes a group; the rows are the `joined` events, the creator's first.
    ///
    /// # Errors
    /// `Unavailable`: it may exist, and then its rows come from [`Directory::due`].
    async fn create_group(&self, new: NewGroup) -> Result<Changed>;

    /// Groups by id, in no order; unknown ones are left out. At most 500.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn groups(&self, ids: &[GroupId]) -> Result<Vec<Group>>;

    /// All groups in which `user` is a member, with role and `joined`, in no order.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn groups_of(&self, user: UserId) -> Result<Vec<(Group, Membership)>>;

    /// The standing of `user` in `group`; `None` if the group does not exist or is none of
    /// theirs.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn membership(&self, group: GroupId, user: UserId) -> Result<Option<Membership>>;

    /// Members ordered by id, above `after`, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn members(
        &self,
        group: GroupId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>>;

    /// Makes people members; those who are already stay as they are and make no row. The group has
    /// `most` members afterwards at most, those included whose `joined` event is on its way.
    ///
    /// # Errors
    /// `Unavailable`: they may be, and then the rows come from [`Directory::due`].
    async fn add_members(
        &self,
        group: GroupId,
        actor: UserId,
        users: &[UserId],
        role: Role,
        most: u64,
        at: Time,
    ) -> Result<Changed>;

    /// Ends a membership, if the role is still `seen`. The row is `left` when `actor` is the
    /// person, else `removed`.
    ///
    /// # Errors
    /// `Unavailable`: it may have ended.
    async fn remove_member(
        &self,
        group: GroupId,
        actor: UserId,
        user: UserId,
        seen: Role,
        at: Time,
    ) -> Result<Changed>;

    /// Changes a role, if it is still `seen`.
    ///
    /// # Errors
    /// `Unavailable`: it may have changed.
    async fn set_role(
        &self,
        group: GroupId,
        actor: UserId,
        user: UserId,
        seen: Role,
        role: Role,
        at: Time,
    ) -> Result<Changed>;

    /// Renames a group.
    ///
    /// # Errors
    /// `Unavailable`: it may be renamed.
    async fn rename_group(
        &self,
        group: GroupId,
        actor: UserId,
        name: &str,
        at: Time,
    ) -> Result<Changed>;

    /// Notes that the row's event stands at `pos`; a `joined` row's member begins there.
    ///
    /// # Errors
    /// `Unavailable`: note it again.
    async fn mark_appended(&self, row: ClientId, pos: Position) -> Result<()>;

    /// Rows of the group that were marked at a position which `row` cuts off, of a lower epoch
    /// and at or above its seq, are due again: those events never happened (epochs.md rule 4). A
    /// `joined` row's member stays one, and moves when the row is marked anew. Answers how many.
    ///
    /// # Errors
    /// `Unavailable`: say it again.
    async fn cut_off(&self, group: GroupId, row: Position) -> Result<u64>;

    /// Rows decided before `before` and not marked yet, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn due(&self, before: Time, limit: u32) -> Result<Vec<OutboxRow>>;
}
