//! Consumers of the logs. To add one: a file here, a variant of
//! [`Consumer`], and a line in `server/parts.rs`; the runner gives
//! it leases, retries, dead letters, metrics and draining.

use std::time::Duration;

use async_trait::async_trait;

use crate::store::Result;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::dead_letters::LetterId;

pub mod persist;
pub mod unread;

/// What a consumer does with a batch.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Which consumer this is.
    fn consumer(&self) -> Consumer;

    /// From the beginning of one batch to that of the next: what comes meanwhile shares the next
    /// one's round trips. The first event after a pause waits for nothing.
    fn period(&self) -> Duration;

    /// Handles a batch, ordered within each group. The effect must be idempotent: after an error
    /// the whole batch comes again, alone or in parts.
    ///
    /// # Errors
    /// `Unavailable` if it may work later; anything else if some event of the batch can never be
    /// handled.
    async fn handle(&self, batch: &[Delivery]) -> Result<()>;

    /// Handles one event that can never be handled in the normal way: keeps it as a dead letter
    /// and lets the log go on behind it.
    ///
    /// # Errors
    /// `Unavailable`: bury it again.
    async fn bury(&self, letter: &Delivery, reason: &str) -> Result<()>;
}

/// The name of the dead letter that a delivery becomes.
const fn letter_id(consumer: Consumer, letter: &Delivery) -> LetterId {
    LetterId {
        consumer,
        group: letter.group,
        pos: letter.pos,
    }
}
