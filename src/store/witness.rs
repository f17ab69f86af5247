//! What the log was told of the message store: so that a message store that was put back to an
//! older state is noticed, although it looks whole in itself (epochs.md rule 11).
//!
//! Promises, each a case in `tests/it/redis/witness.rs`:
//! - [`Witness::told`] answers the highest number that [`Witness::tell`] ever told, and the highest
//!   epoch announced.
//! - [`Witness::tell`] of a lower number than was told, or of a suspect partition, is refused.
//! - From [`Witness::suspect`] to [`Witness::settle`] nothing leaves the logs of a partition.

use async_trait::async_trait;

use super::Result;
use crate::model::id::{GroupId, Partition};
use crate::model::position::Epoch;

/// What a log was told of the message store, for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The highest epoch announced.
    pub epoch: Epoch,
    /// The number of the newest confirmation of its fence, 0 before the first.
    pub batch: u64,
    /// The epoch that was announced when the message store was found to be older; `None` if
    /// nothing is suspected.
    pub suspect: Option<Epoch>,
}

/// Remembers what the message store once confirmed. A log that lies in the message store itself
/// can only be put back together with it, and has nothing to remember: the defaults.
#[async_trait]
pub trait Witness: Send + Sync {
    /// What was told of these partitions, in their order; `None` for a log without a memory of it.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn told(&self, partitions: &[Partition]) -> Result<Vec<Option<Told>>> {
        Ok(vec![None; partitions.len()])
    }

    /// Tells the numbers of confirmations; answers whether all were taken. One that is refused is
    /// lower than one told before, or of a suspect partition: nothing may be said to be stored.
    ///
    /// # Errors
    /// `Unavailable`: some may be taken.
    async fn tell(&self, _confirmed: &[(Partition, u64)]) -> Result<bool> {
        Ok(true)
    }

    /// Notes that the message store lacks what the log was told, until it is settled.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn suspect(&self, _partition: Partition) -> Result<()> {
        Ok(())
    }

    /// Ends a suspicion, when the number of confirmations was raised to `batch`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn settle(&self, _partition: Partition, _batch: u64) -> Result<()> {
        Ok(())
    }

    /// Every group of these partitions that has a log. Reads all keys there are: only for mending.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn groups(&self, _partitions: &[Partition]) -> Result<Vec<GroupId>> {
        Ok(Vec::new())
    }
}
