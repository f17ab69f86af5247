//! Doors before calls of a real store: shut, a call waits before it as before a store that does
//! not answer, until the test lets it through; or one is turned away as by a lost connection.
//! A door behind a call holds back its answer instead. Nothing else of the store is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use qunliu::model::epoch::{EpochTable, Row, Span};
use qunliu::model::event::Entry;
use qunliu::model::id::{GroupId, Partition, UserId};
use qunliu::model::position::{Epoch, Position};
use qunliu::store::epochs::{Epochs, Fence, Stamp, Stamped};
use qunliu::store::log::SendKey;
use qunliu::store::log::{
    Append, Head, HistoryId, Log, Open, Opened, Outcome, Prepared, Stored, Tail,
};
use qunliu::store::messages::{Few, Inserted, Messages, Sums};
use qunliu::store::witness::{Told, Witness};
use qunliu::store::{Result, StoreError};
use tokio::sync::watch;
use tokio::time::timeout;

use super::logs::DEADLINE;

/// Stands open until it is shut.
pub(crate) struct Door {
    is_open: watch::Sender<bool>,
    callers: watch::Sender<usize>,
    turns_away: AtomicBool,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            is_open: watch::Sender::new(true),
            callers: watch::Sender::new(0),
            turns_away: AtomicBool::new(false),
        }
    }
}

impl Door {
    pub(crate) fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// The next call does not reach the store.
    pub(crate) fn turn_one_away(&self) {
        self.turns_away.store(true, Ordering::SeqCst);
    }

    /// How many calls came to it so far, let through or not.
    pub(crate) fn callers(&self) -> usize {
        *self.callers.borrow()
    }

    /// Waits until this many calls came to it.
    pub(crate) async fn reached_by(&self, callers: usize) {
        let mut came = self.callers.subscribe();
        let came = timeout(DEADLINE, came.wait_for(|came| *came >= callers)).await;
        assert!(came.is_ok(), "{} calls came of {callers}", self.callers());
    }

    async fn pass(&self) -> Result<()> {
        self.callers.send_modify(|callers| *callers += 1);
        if self.turns_away.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                store: "door",
                source: "turned away".into(),
            });
        }
        let mut is_open = self.is_open.subscribe();
        is_open.wait_for(|is_open| *is_open).await.unwrap();
        Ok(())
    }
}

/// A log with doors before its writes and the question for its history, and one behind the reading
/// of heads.
pub(crate) struct LogBehindDoors {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) history: Door,
    pub(crate) heads: Door,
    pub(crate) append: Door,
    pub(crate) open: Door,
    pub(crate) stored: Door,
}

#[async_trait]
impl Witness for LogBehindDoors {
    async fn told(&self, partitions: &[Partition]) -> Result<Vec<Option<Told>>> {
        self.log.told(partitions).await
    }

    async fn tell(&self, confirmed: &[(Partition, u64)]) -> Result<bool> {
        self.log.tell(confirmed).await
    }

    async fn suspect(&self, partition: Partition) -> Result<()> {
        self.log.suspect(partition).await
    }

    async fn settle(&self, partition: Partition, batch: u64) -> Result<()> {
        self.log.settle(partition, batch).await
    }

    async fn groups(&self, partitions: &[Partition]) -> Result<Vec<GroupId>> {
        self.log.groups(partitions).await
    }
}

#[async_trait]
impl Log for LogBehindDoors {
    async fn append(&self, append: Append) -> Result<Outcome> {
        self.append.pass().await?;
        self.log.append(append).await
    }

    async fn history(&self, partition: Partition) -> Result<HistoryId> {
        self.history.pass().await?;
        self.log.history(partition).await
    }

    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<Option<EpochTable>>> {
        self.log.tables(groups).await
    }

    async fn heads(
        &self,
        groups: &[GroupId],
        member: Option<UserId>,
    ) -> Result<Vec<Option<(Head, Option<u64>)>>> {
        let heads = self.log.heads(groups, member).await;
        self.heads.pass().await?;
        heads
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        self.log.range(group, after, upto, limit).await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        self.log.range_back(group, before, limit).await
    }

    async fn prepare(&self, group: GroupId, history: &str, epoch: Epoch) -> Result<Prepared> {
        self.log.prepare(group, history, epoch).await
    }

    async fn open(&self, open: Open) -> Result<Opened> {
        self.open.pass().await?;
        self.log.open(open).await
    }

    async fn set_stored(&self, marks: &[Stored]) -> Result<Vec<Partition>> {
        self.stored.pass().await?;
        self.log.set_stored(marks).await
    }

    async fn tail(&self) -> Result<Box<dyn Tail>> {
        self.log.tail().await
    }
}

/// Epochs with a door before the raising of a fence.
pub(crate) struct EpochsBehindDoor {
    pub(crate) epochs: Arc<dyn Epochs>,
    pub(crate) raise: Door,
}

#[async_trait]
impl Epochs for EpochsBehindDoor {
    async fn fence(&self, partition: Partition) -> Result<Option<Fence>> {
        self.epochs.fence(partition).await
    }

    async fn raise(&self, partition: Partition, from: Option<&Fence>, to: &Fence) -> Result<Fence> {
        self.raise.pass().await?;
        self.epochs.raise(partition, from, to).await
    }

    async fn confirm(&self, fences: &[(Partition, Epoch)]) -> Result<bool> {
        self.epochs.confirm(fences).await
    }

    async fn stamp(&self, stamps: &[Stamp]) -> Result<bool> {
        self.epochs.stamp(stamps).await
    }

    async fn stamped(&self, partitions: &[Partition]) -> Result<Vec<Stamped>> {
        self.epochs.stamped(partitions).await
    }

    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<EpochTable>> {
        self.epochs.tables(groups).await
    }

    async fn add_row(&self, group: GroupId, after: Option<Row>, row: Row) -> Result<bool> {
        self.epochs.add_row(group, after, row).await
    }
}

/// Messages with a door behind the question what someone sent.
pub(crate) struct MessagesBehindDoor {
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) sent: Door,
}

#[async_trait]
impl Messages for MessagesBehindDoor {
    async fn insert(&self, entries: &[(GroupId, Entry)]) -> Result<Vec<Inserted>> {
        self.messages.insert(entries).await
    }

    async fn restore(&self, group: GroupId, entry: &Entry) -> Result<Inserted> {
        self.messages.restore(group, entry).await
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        self.messages.range(group, after, upto, limit).await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        self.messages.range_back(group, before, limit).await
    }

    async fn positions(
        &self,
        group: GroupId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Position>> {
        self.messages.positions(group, after, limit).await
    }

    async fn newest(&self, groups: &[GroupId]) -> Result<Vec<Option<Entry>>> {
        self.messages.newest(groups).await
    }

    async fn last_messages(&self, groups: &[(GroupId, Position)]) -> Result<Vec<Option<Entry>>> {
        self.messages.last_messages(groups).await
    }

    async fn find_sent(&self, group: GroupId, key: SendKey, from: Position) -> Result<Vec<Entry>> {
        self.messages.find_sent(group, key, from).await
    }

    async fn sent_between(
        &self,
        group: GroupId,
        sender: UserId,
        after: Position,
        upto: Position,
        few: Few,
    ) -> Result<Vec<(Position, u64)>> {
        let sent = self.messages.sent_between(group, sender, after, upto, few);
        let sent = sent.await;
        self.sent.pass().await?;
        sent
    }

    async fn sums(&self, group: GroupId, span: Span) -> Result<Sums> {
        self.messages.sums(group, span).await
    }
}
