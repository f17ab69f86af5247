//! Writes events to the message store, moves the stored watermark, and says `stored`
//! (epochs.md rule 5: insert, contiguity, fence, table, in this order).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Handler, letter_id};
use crate::clock::Clock;
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition};
use crate::model::position::{Epoch, Position};
use crate::pipeline::ages::TRIES;
use crate::pipeline::fences::Fences;
use crate::pipeline::reopen::Reopener;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::dead_letters::DeadLetters;
use crate::store::epochs::Epochs;
use crate::store::history::History;
use crate::store::log::{Head, Log, Stored};
use crate::store::messages::{Inserted, Messages};
use crate::store::signals::{Signal, Signals};
use crate::store::{Result, StoreError};
use crate::telemetry::Metrics;
use crate::traces::{Kind as SpanKind, Span, Traces};

/// How many groups' watermarks are remembered; a forgotten one is read again.
const REMEMBERED_MAX: usize = 100_000;

/// The stores that persisting touches.
#[derive(Clone)]
pub struct Stores {
    /// Where the watermark lives.
    pub log: Arc<dyn Log>,
    /// Where events go.
    pub messages: Arc<dyn Messages>,
    /// Where what cannot go there goes.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// What decides which of them count.
    pub epochs: Arc<dyn Epochs>,
    /// Who waits for `stored`.
    pub signals: Arc<dyn Signals>,
    /// Reads both.
    pub history: History,
    /// The fences as this node knows them.
    pub fences: Arc<Fences>,
    /// Opens groups whose fence moved on.
    pub reopener: Arc<Reopener>,
}

/// The consumer `persist`.
pub struct Persist {
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    traces: Traces,
    remembered: Mutex<HashMap<GroupId, Known>>,
}

/// A watermark, and the table by which it was said.
#[derive(Clone)]
struct Known {
    stored: Position,
    table: EpochTable,
}

type Batch = Vec<(GroupId, Entry)>;

/// Short enough that `stored` follows `accepted` within a tenth of a second.
const PERIOD: Duration = Duration::from_millis(40);

impl Persist {
    /// A persister into these stores.
    pub fn new(stores: Stores, clock: Arc<dyn Clock>, metrics: Metrics, traces: Traces) -> Self {
        Self {
            stores,
            clock,
            metrics,
            traces,
            remembered: Mutex::default(),
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
            Some(((group, entry), _)) => Err(StoreError::corrupt(
                "messages",
                format!("two events at {} of {group}", entry.pos),
            )),
        }
    }

    /// Moves the watermarks of the groups whose events were just inserted, and tells who waits.
    async fn advance(&self, positions: &BTreeMap<GroupId, Vec<Position>>) -> Result<()> {
        let mut reached = self.known(positions).await?;
        for (group, known) in &mut reached {
            let stored = positions.get(group).map_or(&[][..], Vec::as_slice);
            self.climb(*group, known, stored).await?;
        }
        for _ in 0..TRIES {
            reached = self.confirm_and_say(reached).await?;
            if reached.is_empty() {
                return Ok(());
            }
        }
        Err(StoreError::unavailable(
            "log",
            "others confirmed the same partitions at the same time",
        ))
    }

    /// Calls stored what was reached, where the fence stands; answers that of which the confirmation
    /// was overtaken.
    async fn confirm_and_say(
        &self,
        mut reached: Vec<(GroupId, Known)>,
    ) -> Result<Vec<(GroupId, Known)>> {
        let groups: Vec<GroupId> = reached.iter().map(|(group, _)| *group).collect();
        let fences = self.confirm(&groups).await?;
        self.catch_up(&mut reached, &fences).await?;
        let mut marks = Vec::with_capacity(groups.len());
        for (group, known) in reached {
            let Some(epoch) = fences.get(&group.partition()).copied() else {
                continue;
            };
            if known.table.epoch() < epoch {
                // Nothing may be said before the group is open again; opening says it.
                self.stores.reopener.reopen(group, epoch).await?;
            } else if known.table.is_valid(known.stored) {
                marks.push((group, known));
            }
        }
        self.say(marks).await
    }

    /// Reads the tables anew that may have a row more than is known. One that ends with the epoch of
    /// its fence has none: rows are added at the end, and under a fence that was raised before.
    async fn catch_up(
        &self,
        reached: &mut [(GroupId, Known)],
        fences: &HashMap<Partition, Epoch>,
    ) -> Result<()> {
        let is_older = |(group, known): &&mut (GroupId, Known)| {
            let epoch = fences.get(&group.partition());
            epoch.is_some_and(|epoch| known.table.epoch() != *epoch)
        };
        let mut older: Vec<_> = reached.iter_mut().filter(is_older).collect();
        if older.is_empty() {
            return Ok(());
        }
        let groups: Vec<GroupId> = older.iter().map(|(group, _)| *group).collect();
        let tables = self.stores.epochs.tables(&groups).await?;
        for ((_, known), table) in older.iter_mut().zip(tables) {
            known.table = table;
        }
        Ok(())
    }

    /// Moves `known` to the highest position up to which everything valid is stored. The usual batch
    /// continues right after the last watermark and needs no look at a store.
    async fn climb(&self, group: GroupId, known: &mut Known, stored: &[Position]) -> Result<()> {
        let (floor, table) = (known.stored, &known.table);
        for pos in stored
            .iter()
            .filter(|pos| table.is_valid(**pos) && pos.seq > floor.seq)
        {
            if pos.seq != known.stored.seq + 1 {
                known.stored = self.stores.history.contiguous(group, table, floor).await?;
                break;
            }
            known.stored = *pos;
        }
        Ok(())
    }

    /// Watermarks that stand, each with a table that knows the epochs of its positions.
    async fn known(
        &self,
        positions: &BTreeMap<GroupId, Vec<Position>>,
    ) -> Result<Vec<(GroupId, Known)>> {
        let (mut known, mut strange) = (Vec::with_capacity(positions.len()), Vec::new());
        {
            let remembered = self.remembered();
            for (group, stored) in positions {
                let newest = stored.last().map_or(0, |pos| pos.epoch);
                let kept = remembered.get(group);
                match kept.filter(|kept| kept.table.epoch() >= newest) {
                    Some(kept) => known.push((*group, kept.clone())),
                    None => strange.push(*group),
                }
            }
        }
        known.extend(self.look_up(&strange).await?);
        Ok(known)
    }

    /// Watermarks and tables as the stores have them.
    async fn look_up(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, Known)>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let tables = self.stores.epochs.tables(groups).await?;
        let heads = self.stores.log.heads(groups, None).await?;
        let join = |((group, table), head): ((&GroupId, EpochTable), Option<(Head, _)>)| {
            let stored = head.map(|(head, _)| head.stored);
            let stored = stored
                .filter(|pos| table.is_valid(*pos))
                .unwrap_or_default();
            (*group, Known { stored, table })
        };
        Ok(groups.iter().zip(tables).zip(heads).map(join).collect())
    }

    /// The epochs of the partitions whose fence stands, asked after the inserts.
    async fn confirm(&self, groups: &[GroupId]) -> Result<HashMap<Partition, Epoch>> {
        let partitions: BTreeSet<Partition> = groups.iter().map(GroupId::partition).collect();
        let partitions: Vec<Partition> = partitions.into_iter().collect();
        self.stores.fences.confirm(&partitions).await
    }

    async fn say(&self, mut known: Vec<(GroupId, Known)>) -> Result<Vec<(GroupId, Known)>> {
        let mark = |(group, known): &(GroupId, Known)| Stored {
            group: *group,
            pos: known.stored,
            confirmed: self.stores.fences.confirmation(group.partition()),
        };
        let marks: Vec<Stored> = known.iter().map(mark).collect();
        let refused = self.stores.log.set_stored(&marks).await?;
        let is_refused = |group: GroupId| refused.contains(&group.partition());
        let taken = marks.iter().filter(|mark| !is_refused(mark.group));
        let signals: Vec<_> = taken
            .map(|mark| Signal::Stored(mark.group, mark.pos))
            .collect();
        if let Err(error) = self.stores.signals.publish(&signals).await {
            tracing::debug!(%error, "senders learn of the watermark later");
        }
        let overtaken = known.extract_if(.., |(group, _)| is_refused(*group));
        let overtaken = overtaken.collect();
        self.remember(known);
        self.stores.fences.overtaken(&refused).await?;
        Ok(overtaken)
    }

    fn remember(&self, known: Vec<(GroupId, Known)>) {
        let mut remembered = self.remembered();
        if remembered.len() > REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.extend(known);
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<GroupId, Known>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A span of the write for each event of a sampled trace.
    fn begin(&self, batch: &[Delivery]) -> Vec<Span> {
        let traces = batch.iter().filter_map(|delivery| delivery.trace);
        let sampled = traces.filter(|trace| trace.is_sampled);
        let begin = |trace| self.traces.child("persist", SpanKind::Consumer, trace);
        sampled.map(begin).collect()
    }

    fn observe(&self, batch: &Batch) {
        let now = self.clock.now();
        for (_, entry) in batch {
            let delay = now.since(entry.at);
            self.metrics.stored_seconds.observe(delay.as_secs_f64());
        }
    }
}

#[async_trait]
impl Handler for Persist {
    fn consumer(&self) -> Consumer {
        Consumer::Persist
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        let entries = readable(batch)?;
        let spans = self.begin(batch);
        let inserted = self.insert(&entries).await;
        end(spans, batch.len(), inserted.is_ok());
        inserted?;
        say_stored(batch);
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
        let (messages, dead_letters) = (&self.stores.messages, &self.stores.dead_letters);
        let (id, now) = (letter_id(Consumer::Persist, letter), self.clock.now());
        dead_letters
            .keep(id, now, &letter.payload(), reason)
            .await?;
        let before = messages
            .range_back(letter.group, Some(letter.pos), 1)
            .await?;
        let count = match &letter.entry {
            Ok(entry) => entry.count,
            Err(_) => before.first().map_or(0, |entry| entry.count),
        };
        let placeholder = Entry::lost(letter.group, letter.pos, count, now);
        // Another event at this position stays: it then is what the position says.
        messages.insert(&[(letter.group, placeholder)]).await?;
        self.advance(&BTreeMap::from([(letter.group, vec![letter.pos])]))
            .await
    }
}

fn end(spans: Vec<Span>, batch: usize, is_inserted: bool) {
    for mut span in spans {
        span.note("qunliu.batch", batch);
        if !is_inserted {
            span.fail("failed");
        }
        span.end();
    }
}

/// One line for each event, by which a send is followed into the message store.
fn say_stored(batch: &[Delivery]) {
    for Delivery {
        group, pos, trace, ..
    } in batch
    {
        if let Some(trace) = trace {
            tracing::debug!(trace = %trace.id, %group, %pos, "inserted");
        }
    }
}

/// The entries of a batch.
///
/// # Errors
/// `Corrupt` for the first that cannot be read.
pub(super) fn readable(batch: &[Delivery]) -> Result<Batch> {
    let read = |delivery: &Delivery| match &delivery.entry {
        Ok(entry) => Ok((delivery.group, entry.clone())),
        Err(unreadable) => Err(StoreError::corrupt("log", unreadable.reason.clone())),
    };
    batch.iter().map(read).collect()
}
