//! Fences and epoch tables: the ground on which a loss in the log is noticed (epochs.md).
//!
//! Promises, each a case in `tests/it/contract/epochs.rs`:
//! - [`Epochs::raise`] changes a fence only from exactly the expected one; one of many racing
//!   callers wins, and all are answered with the fence that then stands.
//! - A raise from a fence that never stood, when there is none, is an error and writes nothing.
//! - [`Epochs::confirm`] is a write: what it confirms no other primary can have raised before.
//! - [`Epochs::add_row`] adds a row only after exactly the expected last row.
//! - Reads see every write that returned before them, from any process (majority, primary).

use async_trait::async_trait;

use super::Result;
use super::log::HistoryId;
use crate::model::epoch::{EpochTable, Row};
use crate::model::id::{GroupId, Partition};
use crate::model::position::Epoch;

/// What a partition's log must be, to be appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The epoch; the first is 1.
    pub epoch: Epoch,
    /// The history.
    pub history: HistoryId,
}

/// A fence with the number of its newest stamp.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamped {
    /// The fence; `None` before the partition's first.
    pub fence: Option<Fence>,
    /// The number, 0 before the first stamp; `None` in a store that does not number.
    pub batch: Option<u64>,
}

/// A stamp on a fence: the number that is expected becomes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose fence.
    pub partition: Partition,
    /// The epoch that the fence must have.
    pub epoch: Epoch,
    /// The number that must stand.
    pub from: u64,
    /// The number that stands afterwards.
    pub to: u64,
}

/// Fences of partitions and epoch tables of groups.
#[async_trait]
pub trait Epochs: Send + Sync {
    /// The fence of a partition; `None` before its first.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn fence(&self, partition: Partition) -> Result<Option<Fence>>;

    /// Compare-and-set: `from` becomes `to`; answers the fence that stands afterwards.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is unknown; read the fence. `Corrupt`: there is no fence at
    /// all, although `from` is one.
    async fn raise(&self, partition: Partition, from: Option<&Fence>, to: &Fence) -> Result<Fence>;

    /// Whether all these fences still stand, each as of a moment within this call.
    /// Asked after the events were kept and before anyone is told `stored` (epochs.md rule 5);
    /// the table is read after it. A majority write, not a read: a read may be answered by a
    /// primary that was deposed without knowing it yet.
    ///
    /// # Errors
    /// `Unavailable`: nothing may be concluded; say nothing of `stored`.
    async fn confirm(&self, fences: &[(Partition, Epoch)]) -> Result<bool>;

    /// As [`Epochs::confirm`], and where the store numbers, each number must be the expected one
    /// and becomes the next. A store that was put back to an older state cannot be of the number
    /// that it once confirmed (epochs.md rule 11). Where this answers no, some may be stamped.
    ///
    /// # Errors
    /// `Unavailable`: some may be stamped.
    async fn stamp(&self, stamps: &[Stamp]) -> Result<bool>;

    /// The fences of these partitions with their numbers, in their order.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn stamped(&self, partitions: &[Partition]) -> Result<Vec<Stamped>>;

    /// The tables of `groups`, in their order; an empty one for a group never opened.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<EpochTable>>;

    /// Adds `row` if the last row is `after`; answers whether this call added it.
    ///
    /// # Errors
    /// `Unavailable`: the outcome is unknown; raise the fence instead of trying again.
    async fn add_row(&self, group: GroupId, after: Option<Row>, row: Row) -> Result<bool>;
}
