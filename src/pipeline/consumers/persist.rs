//! Writes events to the message store, moves the stored watermark, and says `stored`
//! (epochs.md rule 5: insert, contiguity, fence, table, in this order).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::Handler;
use crate::clock::Clock;
use crate::model::client_id::ClientId;
use crate::model::epoch::EpochTable;
use crate::model::event::{Content, Entry, Fixed, Kind};
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::{Epoch, Position};
use crate::model::time::Time;
use crate::pipeline::fences::Fences;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::epochs::Epochs;
use crate::store::history::History;
use crate::store::log::Log;
use crate::store::messages::{Inserted, Messages};
use crate::store::signals::{Signal, Signals};
use crate::store::{Result, StoreError};
use crate::telemetry::Metrics;

/// How many groups' watermarks are remembered; a forgotten one is read again.
const REMEMBERED_MAX: usize = 100_000;

/// The stores that persisting touches.
#[derive(Clone)]
pub struct Stores {
    /// Where the watermark lives.
    pub log: Arc<dyn Log>,
    /// Where events go.
    pub messages: Arc<dyn Messages>,
    /// What decides which of them count.
    pub epochs: Arc<dyn Epochs>,
    /// Who waits for `stored`.
    pub signals: Arc<dyn Signals>,
    /// Reads both.
    pub history: History,
    /// The fences as this node knows them.
    pub fences: Arc<Fences>,
}

/// The consumer `persist`.
pub struct Persist {
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    watermarks: Mutex<HashMap<GroupId, Position>>,
}

type Batch = Vec<(GroupId, Entry)>;

impl Persist {
    /// A persister into these stores.
    pub fn new(stores: Stores, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            stores,
            clock,
            metrics,
            watermarks: Mutex::default(),
        }
    }

    /// Inserts the entries durably.
    async fn insert(&self, batch: &Batch) -> Result<()> {
        let outcomes = self.stores.messages.insert(batch).await?;
        let clash = batch
            .iter()
            .zip(outcomes)
            .find(|(_, done)| *done == Inserted::Different);
        match clash {
            None => Ok(()),
            Some(((group, entry), _)) => Err(StoreError::Corrupt {
                store: "messages",
                what: format!("two events at {} of {group}", entry.pos),
            }),
        }
    }

    /// Moves the watermarks of the groups whose events were just inserted, and tells who waits.
    async fn advance(&self, positions: &BTreeMap<GroupId, Vec<Position>>) -> Result<()> {
        let groups: Vec<GroupId> = positions.keys().copied().collect();
        let tables = self.stores.epochs.tables(&groups).await?;
        let mut reached = Vec::with_capacity(groups.len());
        for ((group, stored), table) in positions.iter().zip(&tables) {
            reached.push((*group, self.contiguous(*group, table, stored).await?));
        }
        let confirmed = self.confirm(&groups).await?;
        let tables = self.stores.epochs.tables(&groups).await?;
        let marks: Vec<_> = reached
            .into_iter()
            .zip(tables)
            .filter(|((group, pos), table)| {
                let epoch = confirmed.get(&group.partition());
                epoch.is_some_and(|epoch| table.epoch() >= *epoch) && table.is_valid(*pos)
            })
            .map(|(mark, _)| mark)
            .collect();
        self.say(&marks).await
    }

    /// The highest position up to which everything valid is stored. The usual batch continues
    /// right after the last watermark and needs no look at the store.
    async fn contiguous(
        &self,
        group: GroupId,
        table: &EpochTable,
        stored: &[Position],
    ) -> Result<Position> {
        let floor = self.floor(group, table).await?;
        let mut reached = floor;
        for pos in stored
            .iter()
            .filter(|pos| table.is_valid(**pos) && pos.seq > floor.seq)
        {
            if pos.seq != reached.seq + 1 {
                return self.stores.history.contiguous(group, table, floor).await;
            }
            reached = *pos;
        }
        Ok(reached)
    }

    /// A watermark that is known to stand.
    async fn floor(&self, group: GroupId, table: &EpochTable) -> Result<Position> {
        let known = self.remembered().get(&group).copied();
        let floor = match known {
            Some(pos) => pos,
            None => {
                let heads = self.stores.log.heads(&[group], None).await?;
                heads
                    .into_iter()
                    .next()
                    .flatten()
                    .map(|(head, _)| head.stored)
                    .unwrap_or_default()
            }
        };
        Ok(if table.is_valid(floor) {
            floor
        } else {
            Position::START
        })
    }

    /// The epochs of the partitions whose fence stands, asked after the inserts.
    async fn confirm(&self, groups: &[GroupId]) -> Result<HashMap<Partition, Epoch>> {
        let partitions: HashSet<Partition> = groups.iter().map(GroupId::partition).collect();
        let asked = partitions
            .into_iter()
            .map(|partition| self.confirm_one(partition));
        let fences = futures::future::try_join_all(asked).await?;
        Ok(fences.into_iter().flatten().collect())
    }

    async fn confirm_one(&self, partition: Partition) -> Result<Option<(Partition, Epoch)>> {
        let fence = self.stores.fences.get(partition).await?;
        if self.stores.epochs.confirm(partition, fence.epoch).await? {
            return Ok(Some((partition, fence.epoch)));
        }
        let fence = self.stores.fences.read(partition).await?;
        let stands = self.stores.epochs.confirm(partition, fence.epoch).await?;
        Ok(stands.then_some((partition, fence.epoch)))
    }

    async fn say(&self, marks: &[(GroupId, Position)]) -> Result<()> {
        self.stores.log.set_stored(marks).await?;
        let signals: Vec<_> = marks
            .iter()
            .map(|(g, pos)| Signal::Stored(*g, *pos))
            .collect();
        if let Err(error) = self.stores.signals.publish(&signals).await {
            tracing::debug!(%error, "senders learn of the watermark later");
        }
        let mut watermarks = self.remembered();
        if watermarks.len() > REMEMBERED_MAX {
            watermarks.clear();
        }
        watermarks.extend(marks.iter().copied());
        Ok(())
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<GroupId, Position>> {
        self.watermarks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, batch: &Batch) {
        let now = self.clock.now().as_millis();
        for (_, entry) in batch {
            let delay = std::time::Duration::from_millis(
                u64::try_from(now - entry.at.as_millis()).unwrap_or(0),
            );
            self.metrics.stored_seconds.observe(delay.as_secs_f64());
        }
    }
}

#[async_trait]
impl Handler for Persist {
    fn consumer(&self) -> Consumer {
        Consumer::Persist
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        let entries = readable(batch)?;
        self.insert(&entries).await?;
        let mut positions: BTreeMap<GroupId, Vec<Position>> = BTreeMap::new();
        for (group, entry) in &entries {
            positions.entry(*group).or_default().push(entry.pos);
        }
        self.advance(&positions).await?;
        self.observe(&entries);
        Ok(())
    }

    /// Keeps the letter, and a placeholder in its position, so that the watermark can pass.
    async fn bury(&self, letter: &Delivery, reason: &str) -> Result<()> {
        let payload = letter.entry.as_ref().map_or(&[][..], |entry| &entry.fixed);
        let messages = &self.stores.messages;
        let name = Consumer::Persist.name();
        messages
            .keep_dead_letter(name, letter.group, letter.pos, payload, reason)
            .await?;
        let before = messages
            .range_back(letter.group, Some(letter.pos), 1)
            .await?;
        let count = match &letter.entry {
            Ok(entry) => entry.count,
            Err(_) => before.first().map_or(0, |entry| entry.count),
        };
        let placeholder = placeholder(letter, count, self.clock.now());
        // Another event at this position stays: it then is what the position says.
        messages.insert(&[(letter.group, placeholder)]).await?;
        self.advance(&BTreeMap::from([(letter.group, vec![letter.pos])]))
            .await
    }
}

/// The entries of a batch.
///
/// # Errors
/// `Corrupt` for the first that cannot be read.
pub(super) fn readable(batch: &[Delivery]) -> Result<Batch> {
    let read = |delivery: &Delivery| match &delivery.entry {
        Ok(entry) => Ok((delivery.group, entry.clone())),
        Err(what) => Err(StoreError::Corrupt {
            store: "log",
            what: what.clone(),
        }),
    };
    batch.iter().map(read).collect()
}

fn placeholder(letter: &Delivery, count: u64, now: Time) -> Entry {
    let nobody = UserId::from_bytes([0; 16]);
    let mut key = letter.pos.to_bytes();
    key.iter_mut()
        .zip(letter.group.as_bytes())
        .for_each(|(byte, salt)| *byte ^= salt);
    let client_id = ClientId::from_bytes(key);
    let fixed = Fixed {
        client_id,
        sender: nobody,
        at: now,
        content: Content::Lost {},
    };
    let draft = crate::model::event::Draft {
        group: letter.group,
        fixed,
    };
    let entry = draft.into_entry(letter.pos, count, 0);
    debug_assert_eq!(entry.kind, Kind::Lost, "a placeholder is of its own kind");
    entry
}
