//! Whether the message store is as new as the log was told it is (epochs.md rule 11): every batch
//! that is confirmed stamps the next number on the fence, and the log remembers the highest. A
//! message store that was put back to an older state shows a lower number, or a lower epoch, and is
//! suspect from then on: nothing is called stored and nothing leaves the logs until
//! [`super::restored`] has mended what rests on it.
//!
//! In: partitions whose events were inserted. Out: under which epochs they may be called stored.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::fences::Fences;
use crate::model::id::Partition;
use crate::model::position::Epoch;
use crate::store::epochs::{Fence, Stamp, Stamped};
use crate::store::witness::Told;
use crate::store::{Result, StoreError};

/// How often a confirmation is made anew because others, of other nodes, were told first.
pub(super) const TRIES: usize = 5;

/// What log and message store say of a partition.
pub(super) struct Age {
    pub(super) told: Told,
    pub(super) stamped: Stamped,
    /// The highest epoch that this node ever saw.
    known: Epoch,
}

impl Age {
    /// Whether the message store lacks what the log was told.
    pub(super) fn is_older(&self) -> bool {
        self.told.suspect.is_some() || self.lacks_epoch() || self.lacks_batch()
    }

    fn lacks_epoch(&self) -> bool {
        self.epoch() < self.told.epoch.max(self.known)
    }

    fn lacks_batch(&self) -> bool {
        let batch = self.stamped.batch;
        batch.is_some_and(|batch| batch < self.told.batch)
    }

    fn epoch(&self) -> Epoch {
        self.stamped.fence.as_ref().map_or(0, |fence| fence.epoch)
    }

    /// Whether the fence was raised since the suspicion: what is opened under it is mended.
    fn is_outgrown(&self) -> bool {
        let suspect = self.told.suspect.unwrap_or_default();
        self.epoch() > suspect && self.epoch() >= self.known
    }
}

impl Fences {
    /// Confirms the fences of partitions after their events were inserted, each by the next
    /// number; answers the epochs of those that stand.
    ///
    /// # Errors
    /// A store does not answer, or the message store is older than it was: say nothing of
    /// `stored`, and handle the events again.
    pub async fn confirm(&self, partitions: &[Partition]) -> Result<HashMap<Partition, Epoch>> {
        if let Some(all) = self.stamp(partitions).await? {
            return Ok(all);
        }
        // Once more after a look: another node may have confirmed one of them.
        self.overtaken(partitions).await?;
        if let Some(all) = self.stamp(partitions).await? {
            return Ok(all);
        }
        let mut standing = HashMap::new();
        for partition in partitions {
            self.look_again(*partition).await?;
            standing.extend(self.stamp(&[*partition]).await?.into_iter().flatten());
        }
        Ok(standing)
    }

    /// Confirms the fence of a partition, and tells the log so; answers whether it stands. For what
    /// is called stored without [`Log::set_stored`](crate::store::log::Log::set_stored).
    ///
    /// # Errors
    /// A store does not answer, or the message store is older than it was.
    pub async fn confirm_and_tell(&self, partition: Partition) -> Result<bool> {
        for _ in 0..TRIES {
            if self.confirm(&[partition]).await?.is_empty() {
                return Ok(false);
            }
            let number = self.confirmation(partition);
            if self.log.tell(&[(partition, number)]).await? {
                return Ok(true);
            }
            self.overtaken(&[partition]).await?;
        }
        Ok(false)
    }

    /// The number of the newest confirmation of a partition that this node knows; 0 if there is none.
    pub fn confirmation(&self, partition: Partition) -> u64 {
        self.batch(partition).unwrap_or_default()
    }

    /// Looks again at partitions whose confirmations the log refused: if another one was told first,
    /// they can be confirmed again.
    ///
    /// # Errors
    /// A store does not answer, or the message store is older than it was.
    pub async fn overtaken(&self, partitions: &[Partition]) -> Result<()> {
        for partition in partitions {
            self.look_again(*partition).await?;
        }
        Ok(())
    }

    async fn stamps(&self, partitions: &[Partition]) -> Result<Vec<Stamp>> {
        let mut stamps = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let from = match self.batch(*partition) {
                Some(batch) => batch,
                None => self.look_again(*partition).await?,
            };
            stamps.push(Stamp {
                partition: *partition,
                epoch: self.get(*partition).await?.epoch,
                from,
                to: from + 1,
            });
        }
        Ok(stamps)
    }

    /// Stamps the next number on each of these fences; answers their epochs, `None` if not all stand
    /// as they are known here.
    async fn stamp(&self, partitions: &[Partition]) -> Result<Option<HashMap<Partition, Epoch>>> {
        let stamps = self.stamps(partitions).await?;
        if !self.epochs.stamp(&stamps).await? {
            return Ok(None);
        }
        let mut batches = self.batches();
        for Stamp { partition, to, .. } in &stamps {
            let newest = batches.entry(*partition).or_default();
            *newest = (*newest).max(*to);
        }
        Ok(Some(
            stamps.iter().map(|s| (s.partition, s.epoch)).collect(),
        ))
    }

    /// Reads fence and number anew; answers the number. One that was stamped meanwhile is newer.
    async fn look_again(&self, partition: Partition) -> Result<u64> {
        let seen = self.batch(partition);
        self.read(partition).await?;
        let batch = match self.age(partition).await? {
            Some(age) if self.find_older(partition, &age).await? => return Err(older()),
            Some(age) => age.stamped.batch.unwrap_or(age.told.batch),
            None => 0,
        };
        let mut batches = self.batches();
        if batches.get(&partition).copied() == seen {
            batches.insert(partition, batch);
        }
        Ok(batch)
    }

    /// How old the message store is; `None` where the log remembers nothing of it.
    pub(super) async fn age(&self, partition: Partition) -> Result<Option<Age>> {
        let ages = self.ages(&[partition]).await?;
        Ok(ages.into_iter().next().map(|(_, age)| age))
    }

    /// As [`Fences::age`], of many. What this node knows is asked first, the message store last: it
    /// may have gone on in between, and never back.
    pub(super) async fn ages(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Age)>> {
        let known: Vec<_> = partitions.iter().map(|p| self.cached(*p)).collect();
        let told = self.log.told(partitions).await?;
        if told.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let stamped = self.epochs.stamped(partitions).await?;
        let said = told.into_iter().map(Option::unwrap_or_default).zip(stamped);
        let ages = known
            .into_iter()
            .zip(said)
            .map(|(known, (told, stamped))| Age {
                told,
                stamped,
                known: known.map_or(0, |fence| fence.epoch),
            });
        Ok(partitions.iter().copied().zip(ages).collect())
    }

    /// Whether the message store is older, which is noted in the log so that nothing leaves it. A
    /// write of what was read shows that no deposed primary answered.
    pub(super) async fn find_older(&self, partition: Partition, age: &Age) -> Result<bool> {
        if !age.is_older() || age.told.suspect.is_some() {
            return Ok(age.is_older());
        }
        if let (Some(fence), Some(batch)) = (&age.stamped.fence, age.stamped.batch) {
            let same = Stamp {
                partition,
                epoch: fence.epoch,
                from: batch,
                to: batch,
            };
            if !self.epochs.stamp(&[same]).await? {
                return Ok(false);
            }
        }
        self.log.suspect(partition).await?;
        self.older.notify_one();
        Ok(true)
    }

    /// Raises the fence of a suspect partition above every epoch that was ever in use, once;
    /// answers what stands afterwards.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn outgrow(&self, partition: Partition, age: &Age) -> Result<Fence> {
        if let Some(fence) = &age.stamped.fence
            && age.is_outgrown()
        {
            return Ok(self.learn(partition, fence.clone()));
        }
        let next = Fence {
            epoch: age.epoch().max(age.told.epoch).max(age.known) + 1,
            history: self.log.history(partition).await?,
        };
        let from = age.stamped.fence.as_ref();
        let standing = self.epochs.raise(partition, from, &next).await?;
        if standing == next {
            self.metrics.epochs_raised.inc();
            self.metrics.store_older.inc();
            tracing::error!(
                %partition,
                epoch = next.epoch,
                confirmed = age.told.batch,
                found = age.stamped.batch,
                "the message store is older than it was: it was put back, or lost what it had \
                 confirmed. What the log still has is stored again, and the rest is shown as lost"
            );
        }
        Ok(self.learn(partition, standing))
    }

    /// After an answer of the log that the epoch `seen` is over: reads the fence, which stands
    /// higher, unless the message store is older.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn catch_up(&self, partition: Partition, seen: Epoch) -> Result<()> {
        if self.read(partition).await?.epoch > seen {
            return Ok(());
        }
        self.is_older(partition).await.map(|_| ())
    }

    /// Whether the message store is older than the log was told. Then the fence stands above every
    /// epoch of before when this returns.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn is_older(&self, partition: Partition) -> Result<bool> {
        let Some(age) = self.age(partition).await? else {
            return Ok(false);
        };
        if !self.find_older(partition, &age).await? {
            return Ok(false);
        }
        // The suspicion says above which epoch the fence must stand.
        if let Some(age) = self.age(partition).await? {
            self.outgrow(partition, &age).await?;
        }
        Ok(true)
    }

    /// Says to message store and log that what they disagreed on is mended.
    ///
    /// # Errors
    /// A store does not answer: settle again.
    pub(super) async fn settle(&self, partition: Partition) -> Result<()> {
        let Some(age) = self.age(partition).await? else {
            return Ok(());
        };
        let stands = age.stamped.batch.unwrap_or(age.told.batch);
        let batch = age.told.batch.max(stands) + 1;
        let stamp = Stamp {
            partition,
            epoch: age.epoch(),
            from: stands,
            to: batch,
        };
        if !self.epochs.stamp(&[stamp]).await? {
            return Err(older());
        }
        self.batches().remove(&partition);
        self.log.settle(partition, batch).await
    }

    fn batch(&self, partition: Partition) -> Option<u64> {
        self.batches().get(&partition).copied()
    }

    fn batches(&self) -> std::sync::MutexGuard<'_, HashMap<Partition, u64>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is handled is handled again once it is mended.
fn older() -> StoreError {
    StoreError::unavailable(
        "messages",
        "it is older than what it confirmed; what is missing is mended first",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(told: (Epoch, u64, Option<Epoch>), stands: (Epoch, Option<u64>), known: Epoch) -> Age {
        let (epoch, batch, suspect) = told;
        let fence = Fence {
            epoch: stands.0,
            history: String::new(),
        };
        Age {
            told: Told {
                epoch,
                batch,
                suspect,
            },
            stamped: Stamped {
                fence: (stands.0 > 0).then_some(fence),
                batch: stands.1,
            },
            known,
        }
    }

    #[test]
    fn a_store_is_older_by_its_number_or_its_epoch_or_for_as_long_as_it_is_suspect() {
        for (told, stands, known, is_older) in [
            ((0, 0, None), (0, Some(0)), 0, false),
            ((3, 7, None), (3, Some(7)), 3, false),
            ((3, 7, None), (4, Some(9)), 3, false),
            ((3, 7, None), (3, Some(6)), 3, true),
            ((3, 7, None), (2, Some(7)), 2, true),
            ((3, 7, None), (3, Some(7)), 4, true),
            ((3, 7, None), (0, Some(0)), 0, true),
            ((3, 7, Some(3)), (4, Some(9)), 4, true),
            // A store that does not number is judged by its epoch alone.
            ((3, 7, None), (3, None), 3, false),
            ((3, 7, None), (2, None), 2, true),
        ] {
            let age = age(told, stands, known);
            assert_eq!(age.is_older(), is_older, "{told:?} {stands:?} {known}");
        }
    }

    #[test]
    fn a_suspicion_is_outgrown_by_a_fence_above_every_epoch_of_before() {
        assert!(!age((5, 7, Some(5)), (3, Some(1)), 5).is_outgrown());
        assert!(!age((5, 7, Some(5)), (5, Some(1)), 5).is_outgrown());
        assert!(!age((5, 7, Some(5)), (6, Some(1)), 7).is_outgrown());
        assert!(age((5, 7, Some(5)), (6, Some(1)), 6).is_outgrown());
        assert!(age((6, 7, Some(5)), (6, Some(1)), 6).is_outgrown());
    }
}
