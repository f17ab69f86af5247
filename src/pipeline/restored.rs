//! Watches for a message store that was put back to an older state, and has every log that rests on
//! it opened again, which mends it (epochs.md rule 11). At the start, every few seconds, and as
//! soon as somebody here meets one.
//!
//! In: what log and message store say of all partitions. Out: openings. It may be done by many
//! nodes at once and again after any of them dies: a group is mended by who opens it.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::fences::Fences;
use super::mend::Mender;
use super::reopen::Reopener;
use crate::clock::every;
use crate::model::id::{GroupId, Partition};
use crate::model::position::Epoch;
use crate::store::Result;

/// How often all partitions are looked at: one read of 16 small documents.
const SWEEP: Duration = Duration::from_secs(5);

/// Logs that are opened, or marks that are moved, at a time.
const OPENINGS: usize = 8;

/// Groups whose heads are read in one call.
const HEADS: usize = 500;

/// Sees to partitions of which the message store is older than the log was told.
pub struct Restored {
    stores: Mender,
    fences: Arc<Fences>,
    reopener: Arc<Reopener>,
}

impl Restored {
    /// A watch over these fences and stores.
    pub const fn new(stores: Mender, fences: Arc<Fences>, reopener: Arc<Reopener>) -> Self {
        Self {
            stores,
            fences,
            reopener,
        }
    }

    /// Watches until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let mut tick = every(SWEEP);
        loop {
            let due = async {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = self.fences.older.notified() => {}
                }
            };
            if stop.run_until_cancelled(due).await.is_none() {
                return;
            }
            match stop.run_until_cancelled(self.look()).await {
                Some(Err(error)) if error.is_transient() => {
                    tracing::debug!(%error, "the age of the message store is looked at later");
                }
                Some(Err(error)) => tracing::error!(%error, "an older message store is not mended"),
                Some(Ok(())) | None => {}
            }
        }
    }

    /// Looks at all partitions once, and mends what needs it.
    ///
    /// # Errors
    /// A store does not answer; what is left is found again.
    pub async fn look(&self) -> Result<()> {
        let all: Vec<_> = (0..=u8::MAX).map(Partition).collect();
        let mut older = Vec::new();
        for (partition, age) in self.fences.ages(&all).await? {
            if age.is_older() && self.fences.find_older(partition, &age).await? {
                older.push(partition);
            }
        }
        if older.is_empty() {
            return Ok(());
        }
        self.mark_again(&older).await?;
        let mut suspects = Vec::new();
        for (partition, age) in self.fences.ages(&older).await? {
            if let Some(epoch) = age.told.suspect {
                self.fences.outgrow(partition, &age).await?;
                suspects.push((partition, epoch));
            }
        }
        self.mend(&suspects).await
    }

    /// Moves read marks to where cards remember them: before anything is opened, for what is opened
    /// makes cards be filled anew.
    async fn mark_again(&self, partitions: &[Partition]) -> Result<()> {
        let marks = self.stores.cards.marks(partitions).await?;
        let moves = stream::iter(marks).map(|(user, group, mark)| {
            let unread = Arc::clone(&self.stores.unread);
            async move { unread.mark_read(user, group, mark).await.map(drop) }
        });
        let moved: Vec<Result<()>> = moves.buffer_unordered(OPENINGS).collect().await;
        moved.into_iter().collect()
    }

    async fn mend(&self, suspects: &[(Partition, Epoch)]) -> Result<()> {
        let partitions: Vec<_> = suspects.iter().map(|(partition, _)| *partition).collect();
        let groups = self.stores.log.groups(&partitions).await?;
        tracing::warn!(
            partitions = partitions.len(),
            groups = groups.len(),
            "mending logs"
        );
        let openings = stream::iter(groups.clone()).map(|group| self.reopener.look_after(group));
        let opened: Vec<Result<()>> = openings.buffer_unordered(OPENINGS).collect().await;
        for (partition, suspect) in suspects {
            let of_partition = groups
                .iter()
                .filter(|group| group.partition() == *partition);
            let of_partition: Vec<GroupId> = of_partition.copied().collect();
            if self.are_mended(&of_partition, *suspect).await? {
                self.fences.settle(*partition).await?;
                tracing::warn!(%partition, groups = of_partition.len(), "a partition is mended");
            }
        }
        opened.into_iter().collect()
    }

    /// Whether all were opened since the suspicion.
    async fn are_mended(&self, groups: &[GroupId], suspect: Epoch) -> Result<bool> {
        for groups in groups.chunks(HEADS) {
            let heads = self.stores.log.heads(groups, None).await?;
            let is_old = |(head, _): &(crate::store::log::Head, _)| head.pos.epoch <= suspect;
            if heads.iter().flatten().any(is_old) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
