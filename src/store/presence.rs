//! Who has an open socket, on whichever node, and what is told of that and of typing in passing.
//!
//! Each process says of its own people that they are here, and again and again that it lives
//! itself: people of a process that does not are gone, without a word of its own. Nothing here is
//! kept for long, and a hint that is lost is not told again.
//!
//! Promises, each a case in `tests/it/contract/presence.rs`:
//! - Of the processes that a person is at, the first one's `arrive` names them, and the last
//!   one's `depart`.
//! - Saying either again changes nothing.
//! - Every listener hears the hints of every process, of one process in their order.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::Result;
use crate::model::hint::Hint;
use crate::model::id::UserId;

/// People named in one call at most.
pub const USERS_MAX: usize = 500;

/// Knows who is here, and carries hints.
#[async_trait]
pub trait Presence: Send + Sync {
    /// How often [`Presence::beat`] is to be called.
    fn beat_every(&self) -> Duration;

    /// Says that this process lives. Answers whether it was known to: if not, its people may be
    /// forgotten, and must arrive again.
    ///
    /// # Errors
    /// `Unavailable`: say it again.
    async fn beat(&self) -> Result<bool>;

    /// Says that people, [`USERS_MAX`] at most, are at this process. Answers those of them who
    /// were at none. They count for as long as the process beats.
    ///
    /// # Errors
    /// `Unavailable`: they may be here; say it again.
    async fn arrive(&self, users: &[UserId]) -> Result<Vec<UserId>>;

    /// Says that people, [`USERS_MAX`] at most, left this process. Answers those of them who are
    /// at none now.
    ///
    /// # Errors
    /// `Unavailable`: they may have left; say it again.
    async fn depart(&self, users: &[UserId]) -> Result<Vec<UserId>>;

    /// Takes up to [`USERS_MAX`] people off a process that lives no more. Answers those of them
    /// who are at none now; nobody else is answered the same.
    ///
    /// # Errors
    /// `Unavailable`: people may be taken off without anybody having been answered them.
    async fn bury(&self) -> Result<Vec<UserId>>;

    /// Those of `users`, [`USERS_MAX`] at most, who are here.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>>;

    /// Tells every node, this one included.
    ///
    /// # Errors
    /// `Unavailable`: nobody, or not everybody, was told.
    async fn tell(&self, hints: &[Hint]) -> Result<()>;

    /// All hints from now on. Holds the newest 4,096; a receiver that lags loses the oldest.
    fn hints(&self) -> broadcast::Receiver<Hint>;
}
