//! Groups in which this node appended something that is not stored yet. A log may lose an event
//! with nobody appending any more who would notice: then clients would show for ever what never
//! happened, and their senders would wait for `stored` in vain. So logs are looked at until the
//! watermark has passed, and one that lost something is opened again, which tells everyone
//! (epochs.md rule 5, last part).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::reopen::Reopener;
use crate::clock::every;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::log::{Head, Log, Receipt};

/// How often logs are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// Groups whose heads are read in one call.
const HEADS: usize = 500;

/// Logs that are opened at a time.
const OPENINGS: usize = 32;

/// A head may be there although its stream is gone: after so many looks at which the watermark
/// had not passed, the log itself is asked whether it is open.
const LOOKS: u32 = 5;

/// What is not known to be stored: at most one entry for each group in use.
pub struct Unsettled {
    log: Arc<dyn Log>,
    reopener: Arc<Reopener>,
    groups: Mutex<HashMap<GroupId, Waiting>>,
}

/// The highest position that waits in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Waiting {
    pos: Position,
    looks: u32,
}

/// What a head says of a position that waits.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Settled,
    Waits(Position),
    Lost,
}

impl Unsettled {
    /// Nothing waits yet.
    pub fn new(log: Arc<dyn Log>, reopener: Arc<Reopener>) -> Self {
        Self {
            log,
            reopener,
            groups: Mutex::default(),
        }
    }

    /// An event was appended, or was found to stand already.
    pub(super) fn note(&self, group: GroupId, receipt: &Receipt) {
        if receipt.stored < receipt.pos {
            let mut groups = self.groups();
            let waiting = groups.entry(group).or_default();
            waiting.pos = waiting.pos.max(receipt.pos);
        }
    }

    /// Looks after what waits, until `stop`.
    pub async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = every(SWEEP);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let groups: Vec<GroupId> = self.groups().keys().copied().collect();
            for groups in groups.chunks(HEADS) {
                let looked = stop.run_until_cancelled(self.look(groups)).await;
                if let Some(Err(error)) = looked {
                    tracing::debug!(%error, "what is not stored is looked at again later");
                }
            }
        }
    }

    async fn look(&self, groups: &[GroupId]) -> Result<()> {
        let heads = self.log.heads(groups, None).await?;
        let heads = heads.into_iter().map(|head| head.map(|(head, _)| head));
        let lost: Vec<GroupId> = groups
            .iter()
            .zip(heads)
            .filter_map(|(group, head)| self.judge(*group, head).then_some(*group))
            .collect();
        let openings = stream::iter(lost).map(|group| self.reopener.look_after(group));
        openings
            .buffer_unordered(OPENINGS)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    /// Notes what the head says; answers whether the log is to be opened unless it is open.
    fn judge(&self, group: GroupId, head: Option<Head>) -> bool {
        let mut groups = self.groups();
        let Some(waiting) = groups.get_mut(&group) else {
            return false;
        };
        waiting.looks += 1;
        match verdict(waiting.pos, head) {
            Verdict::Settled => {
                groups.remove(&group);
                false
            }
            Verdict::Waits(pos) => {
                waiting.pos = pos;
                waiting.looks.is_multiple_of(LOOKS)
            }
            Verdict::Lost => true,
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<GroupId, Waiting>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A head of a later epoch was opened behind what was lost: what stands below it waits now.
fn verdict(pos: Position, head: Option<Head>) -> Verdict {
    match head {
        None => Verdict::Lost,
        Some(head) if head.stored >= pos => Verdict::Settled,
        Some(head) if head.pos < pos => Verdict::Lost,
        Some(head) if head.pos.epoch > pos.epoch && head.stored.seq >= head.pos.seq => {
            Verdict::Settled
        }
        Some(head) if head.pos.epoch > pos.epoch => Verdict::Waits(head.pos),
        Some(_) => Verdict::Waits(pos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pos: (u64, u64), stored: (u64, u64)) -> Option<Head> {
        Some(Head {
            pos: Position::new(pos.0, pos.1),
            stored: Position::new(stored.0, stored.1),
            ..Head::default()
        })
    }

    #[test]
    fn what_waits_is_judged_by_the_head() {
        let pos = Position::new(1, 7);
        let waits = |epoch, seq| Verdict::Waits(Position::new(epoch, seq));
        for (head, expected) in [
            (None, Verdict::Lost),
            (head((1, 6), (1, 6)), Verdict::Lost),
            (head((1, 7), (1, 6)), waits(1, 7)),
            (head((1, 9), (1, 7)), Verdict::Settled),
            // It was lost, or stands below the new epoch: either way all that counts is stored.
            (head((2, 5), (1, 5)), Verdict::Settled),
            (head((2, 9), (1, 5)), waits(2, 9)),
            (head((2, 9), (2, 8)), Verdict::Settled),
        ] {
            assert_eq!(verdict(pos, head), expected, "{head:?}");
        }
    }
}
