//! One transaction of the writer: a batch of writes, the heads and own totals that they move,
//! and the groups to ring once they are durable.
//!
//! A head is read once and written once in a batch, however many events move it.

use std::collections::{HashMap, HashSet};

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Sqlite, SqliteConnection, Transaction};

use super::database::{Database, store_error};
use super::rows::{get_position, get_time, get_u64, int};
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::log::Head;

/// The transaction and what it has changed so far.
pub(super) struct Batch {
    transaction: Transaction<'static, Sqlite>,
    heads: HashMap<GroupId, Option<Head>>,
    announced: HashMap<Partition, Epoch>,
    moved: HashSet<GroupId>,
    own: HashMap<(GroupId, UserId), u64>,
}

impl Batch {
    /// Begins the one writing transaction.
    pub(super) async fn begin(database: &Database) -> Result<Self> {
        Ok(Self {
            transaction: database.begin().await?,
            heads: HashMap::new(),
            announced: HashMap::new(),
            moved: HashSet::new(),
            own: HashMap::new(),
        })
    }

    /// The connection, within the transaction.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// The head of a log as the batch has moved it; `None` when the log was never opened.
    pub(super) async fn head(&mut self, group: GroupId) -> Result<Option<Head>> {
        if !self.heads.contains_key(&group) {
            self.load(group).await?;
        }
        Ok(self.heads.get(&group).copied().flatten())
    }

    /// The highest epoch announced to the partition of a group; 0 before the first.
    pub(super) async fn announced(&mut self, group: GroupId) -> Result<Epoch> {
        if !self.announced.contains_key(&group.partition()) {
            self.load(group).await?;
        }
        let announced = self.announced.get(&group.partition());
        Ok(announced.copied().unwrap_or_default())
    }

    /// Reads head and announced epoch together: an append needs both.
    async fn load(&mut self, group: GroupId) -> Result<()> {
        let row = sqlx::query(
            "SELECT h.epoch, h.seq, h.count, h.rights_epoch, h.rights_seq, h.at, a.epoch AS announced
             FROM (SELECT 1) LEFT JOIN log_heads h ON h.group_id = ?1
             LEFT JOIN log_announced a ON a.partition = ?2",
        )
        .bind(group.as_bytes().as_slice())
        .bind(i64::from(group.partition().0))
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        let announced: Option<i64> = row.try_get("announced").map_err(store_error)?;
        let announced = announced.and_then(|epoch| Epoch::try_from(epoch).ok());
        self.announced
            .entry(group.partition())
            .or_insert(announced.unwrap_or_default());
        let head = head_if_open(&row)?;
        self.heads.entry(group).or_insert(head);
        Ok(())
    }

    /// Moves the head of a log; readers are rung after the commit.
    pub(super) fn set_head(&mut self, group: GroupId, head: Head) {
        self.heads.insert(group, Some(head));
        self.moved.insert(group);
    }

    /// The own total of a sender (O), if this batch has moved it.
    pub(super) fn own(&self, group: GroupId, sender: UserId) -> Option<u64> {
        self.own.get(&(group, sender)).copied()
    }

    /// Moves the own total of a sender.
    pub(super) fn set_own(&mut self, group: GroupId, sender: UserId, total: u64) {
        self.own.insert((group, sender), total);
    }

    /// Replaces every own total of a group.
    pub(super) async fn replace_own(
        &mut self,
        group: GroupId,
        totals: &[(UserId, u64)],
    ) -> Result<()> {
        self.own.retain(|(of, _), _| *of != group);
        sqlx::query("DELETE FROM own_totals WHERE group_id = ?1")
            .bind(group.as_bytes().as_slice())
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        for (sender, total) in totals {
            self.set_own(group, *sender, *total);
        }
        Ok(())
    }

    /// Announces an epoch to a partition.
    pub(super) async fn announce(&mut self, partition: Partition, epoch: Epoch) -> Result<()> {
        sqlx::query(
            "INSERT INTO log_announced (partition, epoch) VALUES (?1, ?2)
             ON CONFLICT (partition) DO UPDATE SET epoch = excluded.epoch",
        )
        .bind(i64::from(partition.0))
        .bind(int(epoch))
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        self.announced.insert(partition, epoch);
        Ok(())
    }

    /// Writes heads and totals and commits; answers the groups whose heads moved.
    pub(super) async fn commit(mut self) -> Result<HashSet<GroupId>> {
        for group in &self.moved {
            if let Some(head) = self.heads.get(group).copied().flatten() {
                write_head(&mut self.transaction, *group, head).await?;
            }
        }
        for ((group, sender), total) in &self.own {
            write_own(&mut self.transaction, *group, *sender, *total).await?;
        }
        self.transaction.commit().await.map_err(store_error)?;
        Ok(self.moved)
    }
}

async fn write_head(connection: &mut SqliteConnection, group: GroupId, head: Head) -> Result<()> {
    sqlx::query(
        "INSERT INTO log_heads (group_id, epoch, seq, count, rights_epoch, rights_seq, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (group_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq,
             count = excluded.count, rights_epoch = excluded.rights_epoch,
             rights_seq = excluded.rights_seq, at = excluded.at",
    )
    .bind(group.as_bytes().as_slice())
    .bind(int(head.pos.epoch))
    .bind(int(head.pos.seq))
    .bind(int(head.count))
    .bind(int(head.rights.epoch))
    .bind(int(head.rights.seq))
    .bind(head.at.as_millis())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

async fn write_own(
    connection: &mut SqliteConnection,
    group: GroupId,
    sender: UserId,
    total: u64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO own_totals (group_id, sender_id, total) VALUES (?1, ?2, ?3)
         ON CONFLICT (group_id, sender_id) DO UPDATE SET total = excluded.total",
    )
    .bind(group.as_bytes().as_slice())
    .bind(sender.as_bytes().as_slice())
    .bind(int(total))
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// The head in the columns of `log_heads`, which are null where the log was never opened.
fn head_if_open(row: &SqliteRow) -> Result<Option<Head>> {
    let epoch: Option<i64> = row.try_get("epoch").map_err(store_error)?;
    epoch.map(|_| head(row)).transpose()
}

/// The head in the columns of `log_heads`. Everything is stored as soon as it is appended.
pub(super) fn head(row: &SqliteRow) -> Result<Head> {
    let pos = get_position(row, "epoch", "seq")?;
    Ok(Head {
        pos,
        count: get_u64(row, "count")?,
        rights: get_position(row, "rights_epoch", "rights_seq")?,
        at: get_time(row, "at")?,
        stored: pos,
    })
}
