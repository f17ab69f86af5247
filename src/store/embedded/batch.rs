//! One transaction of the writer, and what it knows of the logs that its writes touch: read
//! together before the first of them, changed in memory, written together before the commit. So
//! a batch costs a handful of statements however many appends it holds.
//!
//! In: the writes, which see each other's changes in their order. Out: the groups whose heads
//! moved, to be rung once the batch is durable.

use std::collections::{HashMap, HashSet};

use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::database::{Database, store_error};
use super::log_rows::{
    delete_own, insert_events, load_heads, load_sent, write_announced, write_heads, write_own,
};
use super::rows::corrupt;
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::log::{Head, SendKey};

/// A send in its group: what the memory of `client_id`s is asked by.
pub(super) type SentKey = (GroupId, SendKey);

/// The transaction and what it knows.
pub(super) struct Batch {
    transaction: Transaction<'static, Sqlite>,
    heads: HashMap<GroupId, Option<Head>>,
    announced: HashMap<Partition, Epoch>,
    sent: HashMap<SentKey, Option<Entry>>,
    own: HashMap<(GroupId, UserId), u64>,
    appended: Vec<(GroupId, Entry)>,
    moved: HashSet<GroupId>,
    counted: HashSet<(GroupId, UserId)>,
}

impl Batch {
    /// Begins the one writing transaction.
    pub(super) async fn begin(database: &Database) -> Result<Self> {
        Ok(Self {
            transaction: database.begin().await?,
            heads: HashMap::new(),
            announced: HashMap::new(),
            sent: HashMap::new(),
            own: HashMap::new(),
            appended: Vec::new(),
            moved: HashSet::new(),
            counted: HashSet::new(),
        })
    }

    /// The connection, within the transaction, with every event of the batch in its table.
    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.flush_events().await?;
        Ok(&mut self.transaction)
    }

    /// Reads what is not known yet of these sends and their groups.
    pub(super) async fn know_sent(&mut self, keys: &[SentKey]) -> Result<()> {
        let groups: Vec<_> = keys.iter().map(|(group, _)| *group).collect();
        self.know_heads(&groups).await?;
        let is_known = |(group, key): &SentKey| {
            self.sent.contains_key(&(*group, *key)) && self.own.contains_key(&(*group, key.0))
        };
        let unknown: Vec<_> = keys.iter().filter(|key| !is_known(key)).copied().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found = load_sent(self.connection().await?, &unknown).await?;
        for ((group, key), (own, entry)) in unknown.into_iter().zip(found) {
            self.own.entry((group, key.0)).or_insert(own);
            self.sent.entry((group, key)).or_insert(entry);
        }
        Ok(())
    }

    /// Reads the heads of these groups that are not known yet, and what was announced to their
    /// partitions.
    pub(super) async fn know_heads(&mut self, groups: &[GroupId]) -> Result<()> {
        let unknown: HashSet<_> = groups.iter().copied().collect();
        let is_unknown = |group: &GroupId| !self.heads.contains_key(group);
        let unknown: Vec<_> = unknown.into_iter().filter(is_unknown).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let found = load_heads(&mut self.transaction, &unknown).await?;
        for (group, (head, announced)) in unknown.into_iter().zip(found) {
            self.heads.insert(group, head);
            let partition = group.partition();
            self.announced.entry(partition).or_insert(announced);
        }
        Ok(())
    }

    /// The head of a known log; `None` when it was never opened.
    pub(super) fn head(&self, group: GroupId) -> Option<Head> {
        self.heads.get(&group).copied().flatten()
    }

    /// The highest epoch announced to the partition of a known log; 0 before the first.
    pub(super) fn announced(&self, group: GroupId) -> Epoch {
        let announced = self.announced.get(&group.partition());
        announced.copied().unwrap_or_default()
    }

    /// The newest event of a known send.
    pub(super) fn sent(&self, key: SentKey) -> Option<&Entry> {
        self.sent.get(&key)?.as_ref()
    }

    /// Messages so far (O) of the sender of a known send.
    pub(super) fn own(&self, group: GroupId, sender: UserId) -> u64 {
        self.own.get(&(group, sender)).copied().unwrap_or_default()
    }

    /// Appends an event, which moves the head, the own total and the memory with it.
    pub(super) fn append(&mut self, group: GroupId, entry: Entry, head: Head) {
        let key = (entry.sender, entry.client_id);
        if entry.kind.is_counted() {
            self.set_own(group, entry.sender, entry.sender_count);
        }
        self.sent.insert((group, key), Some(entry.clone()));
        self.appended.push((group, entry));
        self.set_head(group, head);
    }

    /// Moves the head of a log; its readers are rung after the commit.
    pub(super) fn set_head(&mut self, group: GroupId, head: Head) {
        self.heads.insert(group, Some(head));
        self.moved.insert(group);
    }

    fn set_own(&mut self, group: GroupId, sender: UserId, total: u64) {
        self.own.insert((group, sender), total);
        self.counted.insert((group, sender));
    }

    /// Replaces every own total of a group.
    pub(super) async fn replace_own(
        &mut self,
        group: GroupId,
        totals: &[(UserId, u64)],
    ) -> Result<()> {
        self.own.retain(|(of, _), _| *of != group);
        self.counted.retain(|(of, _)| *of != group);
        delete_own(&mut self.transaction, group).await?;
        for (sender, total) in totals {
            self.set_own(group, *sender, *total);
        }
        Ok(())
    }

    /// Announces an epoch to a partition.
    pub(super) async fn announce(&mut self, partition: Partition, epoch: Epoch) -> Result<()> {
        write_announced(&mut self.transaction, partition, epoch).await?;
        self.announced.insert(partition, epoch);
        Ok(())
    }

    async fn flush_events(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.appended);
        let inserted = insert_events(&mut self.transaction, &events).await?;
        if inserted == events.len() {
            Ok(())
        } else {
            Err(corrupt("log_heads", "lies below an event"))
        }
    }

    /// Writes what changed in memory.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.flush_events().await?;
        let heads = self.moved.iter().filter_map(|group| {
            let head = self.heads.get(group).copied().flatten();
            head.map(|head| (*group, head))
        });
        write_heads(&mut self.transaction, heads).await?;
        let own = self.counted.iter().filter_map(|of| {
            let total = self.own.get(of).copied();
            total.map(|total| (of.0, of.1, total))
        });
        write_own(&mut self.transaction, own).await
    }

    /// Commits what was flushed; answers the groups whose heads moved.
    pub(super) async fn commit(self) -> Result<HashSet<GroupId>> {
        self.transaction.commit().await.map_err(store_error)?;
        Ok(self.moved)
    }
}
