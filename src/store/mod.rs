//! The boundary to everything that keeps data: one trait in each file, one folder for each
//! backend, the same file names inside.
//!
//! | trait | keeps | embedded | production |
//! | --- | --- | --- | --- |
//! | [`log::Log`], [`log::Tail`] | the groups' live logs | SQLite | Redis Streams |
//! | [`witness::Witness`] | what the log was told of the message store | nothing: it is one file | Redis |
//! | [`consumers::ConsumerLog`] | who has handled what of the logs | SQLite | Redis consumer groups |
//! | [`epochs::Epochs`] | fences and epoch tables | SQLite | MongoDB |
//! | [`messages::Messages`] | the history | SQLite | MongoDB |
//! | [`dead_letters::DeadLetters`] | events that could not be handled | SQLite | MongoDB |
//! | [`unread::Unread`] | read marks, mentions | SQLite | MongoDB |
//! | [`accounts::Accounts`] | passwords, log-ins, their ends | SQLite | PostgreSQL |
//! | [`directory::Directory`] | people, merchants, groups, members | SQLite | PostgreSQL |
//! | [`cards::Cards`] | what a socket needs that comes back | nothing: it is one file | Redis |
//! | [`roster::Roster`] | lists of people, for those who may see them | SQLite | read replicas of PostgreSQL |
//! | [`signals::Signals`] | what is not worth keeping | this process | Redis Pub/Sub |
//! | [`presence::Presence`] | who is here, for now | this process | Redis |
//!
//! What SQLite and PostgreSQL have in common is written once, in [`relational`].
//!
//! To add a backend: a folder that implements the traits it can, one arm in `server/stores.rs`, and one
//! line for each trait in `tests/it/contract/`. The contract suites run unchanged.

pub mod accounts;
pub mod cards;
pub mod consumers;
pub mod counts;
pub mod dead_letters;
pub mod directory;
pub mod epochs;
pub mod finding; // what operators are told of a store
pub mod history;
pub mod log;
pub mod messages;
pub mod presence;
pub mod readiness; // which stores answer
pub mod roster;
pub mod sent;
pub mod signals;
pub mod unread;
pub mod witness;

pub mod embedded;
pub mod mongo;
pub mod postgres;
pub mod redis;
pub mod relational;

/// A driver's own error, kept as the cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store could not do its work, in terms of what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store did not answer, or not in time. A write may have happened: its outcome is
    /// unknown. Try again under the same key.
    #[error("{store} does not answer")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// The driver's error.
        #[source]
        source: Cause,
    },
    /// What was read is not what this version can have written.
    #[error("{store} holds something unreadable: {what}")]
    Corrupt {
        /// Which store.
        store: &'static str,
        /// What was unreadable.
        what: String,
    },
    /// The store refused. The same call will be refused again.
    #[error("{store} refused the request")]
    Failed {
        /// Which store.
        store: &'static str,
        /// The driver's error.
        #[source]
        source: Cause,
    },
}

impl StoreError {
    /// `store` did not answer.
    pub fn unavailable(store: &'static str, source: impl Into<Cause>) -> Self {
        let source = source.into();
        Self::Unavailable { store, source }
    }

    /// `store` refused.
    pub fn failed(store: &'static str, source: impl Into<Cause>) -> Self {
        let source = source.into();
        Self::Failed { store, source }
    }

    /// `store` holds something unreadable.
    pub fn corrupt(store: &'static str, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Corrupt { store, what }
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// The result of a call to a store.
pub type Result<T> = std::result::Result<T, StoreError>;
