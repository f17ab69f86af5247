//! Accounts and log-ins: passwords, sessions, their ends, and tickets.
//!
//! Promises, each a case in `tests/it/contract/directory/`:
//! - An account is made once, and one account of all is the first.
//! - A session begins only under the password it was proven by, and never for a disabled account,
//!   whatever races with it.
//! - Every end of a session is one transaction with its row in the revocation log, and the log is
//!   read in the order of commits: whoever has read up to a number misses nothing below it.
//! - A ticket is taken once.
//! - Every read sees every change that returned before it, from any process.

use async_trait::async_trait;

use super::Result;
use crate::model::id::{MerchantId, SessionId, UserId};
use crate::model::merchant::Merchant;
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
    /// Whether the account was disabled by an operator.
    pub is_disabled: bool,
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

/// A session that was ended: one row of the revocation log. Rows are kept for a day, far longer
/// than any access token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in the log; those ended together share it.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// Whose it was.
    pub user: UserId,
}

/// Which of a user's sessions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(SessionId),
    /// All.
    All,
}

/// The hash of a ticket: what is kept of it.
pub type TicketHash = [u8; 32];

/// Accounts and log-ins.
#[async_trait]
pub trait Accounts: Send + Sync {
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

    /// Changes the name shown; answers whether the account exists.
    ///
    /// # Errors
    /// `Unavailable`: it may have changed.
    async fn rename_user(&self, user: UserId, display_name: &str) -> Result<bool>;

    /// Changes a password and ends all sessions but `keep`, at `at`.
    ///
    /// # Errors
    /// `Unavailable`: it may have changed.
    async fn set_password(
        &self,
        user: UserId,
        hash: &str,
        keep: Option<SessionId>,
        at: Time,
    ) -> Result<()>;

    /// Disables an account and ends all its sessions, or enables it again, at `at`.
    ///
    /// # Errors
    /// `Unavailable`: it may have happened.
    async fn set_disabled(&self, user: UserId, is_disabled: bool, at: Time) -> Result<()>;

    /// Begins a session if the account's password hash still is `proven` and it is not disabled, and
    /// keeps `kept` in the place of that hash: the same, or another one of the same password.
    /// Answers whether it did. Sessions of the user that ran out go.
    ///
    /// # Errors
    /// `Unavailable`: it may have begun.
    async fn begin_session(&self, session: &Session, proven: &str, kept: &str) -> Result<bool>;

    /// A session that was not ended.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;

    /// A user's sessions that were not ended, newest first, also those that ran out.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>>;

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

    /// Ends sessions of a user, at `at`; answers how many.
    ///
    /// # Errors
    /// `Unavailable`: they may have ended.
    async fn end_sessions(&self, user: UserId, which: Which, at: Time) -> Result<u64>;

    /// The revocation log above `after`, in order.
    ///
    /// # Errors
    /// `Unavailable`: nothing is known of sessions that ended since.
    async fn revocations(&self, after: u64) -> Result<Vec<Revocation>>;

    /// Keeps a ticket of a session; answers whether the session exists. Tickets that ran out by
    /// `at` go.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn keep_ticket(
        &self,
        ticket: &TicketHash,
        session: SessionId,
        at: Time,
        expires_at: Time,
    ) -> Result<bool>;

    /// Takes a ticket that has not run out at `at`: of many callers one is answered its session
    /// and user.
    ///
    /// # Errors
    /// `Unavailable`: it may be taken.
    async fn take_ticket(
        &self,
        ticket: &TicketHash,
        at: Time,
    ) -> Result<Option<(SessionId, UserId)>>;
}
