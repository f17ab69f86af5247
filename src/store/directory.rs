//! People, merchants, groups and members: the truth about who may do what.
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
use crate::model::id::{GroupId, MerchantId, SessionId, UserId};
use crate::model::merchant::Merchant;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::time::Time;
use crate::model::user::User;

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The account and its names.
    pub user: User,
    /// The password's Argon2id hash in PHC form.
    pub password_hash: String,
    /// When.
    pub at: Time,
    /// The merchant to found if this is the first account of all; the account becomes its owner.
    pub first_merchant: (MerchantId, String),
    /// Whether a first account is refused: it must prove the setup code first.
    pub refuse_first: bool,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The account exists.
    Yes,
    /// The account exists, is the first one, and owns this merchant.
    First(Merchant),
    /// The name is taken.
    NameTaken,
    /// It would be the first account, and that was to be refused. Nothing was written.
    FirstRefused,
}

/// What a log-in is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account.
    pub user: User,
    /// The password's hash in PHC form.
    pub password_hash: String,
}

/// A log-in of one user on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// The device's name, at most 64 characters; empty if none was given.
    pub device: String,
    /// How often its refresh token was renewed. A token carries the number it was made under.
    pub generation: i64,
    /// When the number last rose.
    pub refreshed_at: Time,
    /// When the session ends for want of renewal.
    pub expires_at: Time,
}

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
}

/// The truth about people and groups.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Makes an account; the first of all also founds its merchant, in the same transaction.
    ///
    /// # Errors
    /// `Unavailable`: it may exist.
    async fn register(&self, new: NewUser) -> Result<Registered>;

    /// Whether there is no account yet.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn is_empty(&self) -> Result<bool>;

    /// What a log-in under this account name is checked against.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn credentials(&self, name: &str) -> Result<Option<Credentials>>;

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

    /// Begins a session.
    ///
    /// # Errors
    /// `Unavailable`: it may have begun.
    async fn begin_session(&self, session: &Session) -> Result<()>;

    /// A session that was not ended.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;

    /// Counts a renewal: the generation rises from exactly `from` by one. Answers whether this
    /// call did it.
    ///
    /// # Errors
    /// `Unavailable`: it may have risen.
    async fn renew_session(
        &self,
        id: SessionId,
        from: i64,
        at: Time,
        expires_at: Time,
    ) -> Result<bool>;

    /// Ends a session; an ended or unknown one changes nothing.
    ///
    /// # Errors
    /// `Unavailable`: it may have ended.
    async fn end_session(&self, id: SessionId) -> Result<()>;

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

    /// Makes people members; those who are already stay as they are and make no row.
    ///
    /// # Errors
    /// `Unavailable`: they may be, and then the rows come from [`Directory::due`].
    async fn add_members(
        &self,
        group: GroupId,
        actor: UserId,
        users: &[UserId],
        role: Role,
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

    /// Rows decided before `before` and not marked yet, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn due(&self, before: Time, limit: u32) -> Result<Vec<OutboxRow>>;
}
