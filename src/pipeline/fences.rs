//! The fences of the partitions as this node knows them (epochs.md rule 3). Reads them, raises
//! them, and forgets nothing that it was told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, Notify};

use crate::model::id::Partition;
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::epochs::{Epochs, Fence};
use crate::store::log::Log;
use crate::telemetry::Metrics;

/// Fences that this node raises at the same time at most share one of this many turns.
const TURNS: usize = 64;

/// A cache of fences that goes to the store when it must.
pub struct Fences {
    pub(super) epochs: Arc<dyn Epochs>,
    pub(super) log: Arc<dyn Log>,
    pub(super) metrics: Metrics,
    known: Mutex<HashMap<Partition, Fence>>,
    /// The numbers of the newest confirmations (see [`super::ages`]).
    pub(super) batches: Mutex<HashMap<Partition, u64>>,
    /// Rings when the message store is found to be older than it was.
    pub(super) older: Notify,
    turns: Vec<Turn<()>>,
}

impl Fences {
    /// Fences kept by `epochs` over the histories of `log`.
    pub fn new(epochs: Arc<dyn Epochs>, log: Arc<dyn Log>, metrics: Metrics) -> Self {
        Self {
            epochs,
            log,
            metrics,
            known: Mutex::default(),
            batches: Mutex::default(),
            older: Notify::new(),
            turns: (0..TURNS).map(|_| Turn::default()).collect(),
        }
    }

    /// The fence as last seen; read, or set for the first time, if this node has not seen it.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn get(&self, partition: Partition) -> Result<Fence> {
        match self.cached(partition) {
            Some(fence) => Ok(fence),
            None => self.read(partition).await,
        }
    }

    /// The fence as it stands now. A partition that never had one gets its first, under the
    /// history that serves it.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn read(&self, partition: Partition) -> Result<Fence> {
        let fence = match self.epochs.fence(partition).await? {
            Some(fence) => fence,
            None => {
                let first = Fence {
                    epoch: 1,
                    history: self.log.history(partition).await?,
                };
                self.epochs.raise(partition, None, &first).await?
            }
        };
        Ok(self.learn(partition, fence))
    }

    /// Whether these fences, as they were seen, still stand; those that do not are read anew.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn still_stand(&self, seen: &[(Partition, Epoch)]) -> Result<bool> {
        if seen.is_empty() || self.epochs.confirm(seen).await? {
            return Ok(true);
        }
        for (partition, _) in seen {
            self.read(*partition).await?;
        }
        Ok(false)
    }

    /// Raises the fence from `seen` by one epoch to `history`, the same one or another, and
    /// answers what stands afterwards: one of many that try at once wins. All senders of a node
    /// meet a new history in the same moment: the first one asks the store, the others wait.
    ///
    /// # Errors
    /// The store does not answer; the fence may have been raised.
    pub async fn raise(&self, partition: Partition, seen: &Fence, history: &str) -> Result<Fence> {
        let _turn = self.turns[usize::from(partition.0) % TURNS].lock().await;
        if let Some(known) = self
            .cached(partition)
            .filter(|known| known.epoch > seen.epoch)
        {
            return Ok(known);
        }
        let next = Fence {
            epoch: seen.epoch + 1,
            history: history.to_owned(),
        };
        let standing = self.epochs.raise(partition, Some(seen), &next).await?;
        if standing == next {
            self.metrics.epochs_raised.inc();
            let same_history = next.history == seen.history;
            tracing::warn!(%partition, epoch = next.epoch, same_history, "a fence was raised");
        }
        Ok(self.learn(partition, standing))
    }

    pub(super) fn cached(&self, partition: Partition) -> Option<Fence> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&partition)
            .cloned()
    }

    /// Notes a fence, unless a higher one is known: answers of the store may cross.
    pub(super) fn learn(&self, partition: Partition, fence: Fence) -> Fence {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(partition).or_insert_with(|| fence.clone());
        if fence.epoch > entry.epoch {
            *entry = fence;
        }
        entry.clone()
    }
}
