//! Fences and epoch tables in the file. The one writer makes each compare-and-set atomic, and a
//! commit cannot be rolled back by another primary, for there is none.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteExecutor};

use super::batch::Batch;
use super::database::{Database, store_error};
use super::rows::{corrupt, get_group, get_u64, group_list, int};
use super::writer::{Write, Writer};
use crate::model::epoch::{EpochTable, Row};
use crate::model::id::{GroupId, Partition};
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::epochs::{Epochs, Fence, Stamp, Stamped};

/// Fences and epoch tables.
pub struct EmbeddedEpochs {
    database: Database,
    writer: Writer,
}

impl EmbeddedEpochs {
    /// The fences and tables in this file.
    pub(super) const fn new(database: Database, writer: Writer) -> Self {
        Self { database, writer }
    }
}

#[async_trait]
impl Epochs for EmbeddedEpochs {
    async fn fence(&self, partition: Partition) -> Result<Option<Fence>> {
        read_fence(self.database.reader(), partition).await
    }

    async fn raise(&self, partition: Partition, from: Option<&Fence>, to: &Fence) -> Result<Fence> {
        let raise = Raise {
            partition,
            from: from.cloned(),
            to: to.clone(),
        };
        self.writer.run(raise).await
    }

    async fn confirm(&self, fences: &[(Partition, Epoch)]) -> Result<bool> {
        for (partition, epoch) in fences {
            let fence = self.fence(*partition).await?;
            if fence.is_none_or(|fence| fence.epoch != *epoch) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is kept beside the log needs no number.
    async fn stamp(&self, stamps: &[Stamp]) -> Result<bool> {
        let fences: Vec<_> = stamps
            .iter()
            .map(|stamp| (stamp.partition, stamp.epoch))
            .collect();
        self.confirm(&fences).await
    }

    async fn stamped(&self, partitions: &[Partition]) -> Result<Vec<Stamped>> {
        let mut stamped = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let fence = self.fence(*partition).await?;
            stamped.push(Stamped { fence, batch: None });
        }
        Ok(stamped)
    }

    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<EpochTable>> {
        let rows = sqlx::query(
            "SELECT r.group_id, r.epoch, r.start, r.count
             FROM json_each(?1) w CROSS JOIN epochs r ON r.group_id = unhex(w.value)",
        )
        .bind(group_list(groups))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        let mut found: HashMap<GroupId, Vec<Row>> = HashMap::new();
        for row in &rows {
            let group = get_group(row, "group_id")?;
            found.entry(group).or_default().push(table_row(row)?);
        }
        let table = |group| found.get(group).into_iter().flatten().copied().collect();
        Ok(groups.iter().map(table).collect())
    }

    async fn add_row(&self, group: GroupId, after: Option<Row>, row: Row) -> Result<bool> {
        self.writer.run(AddRow { group, after, row }).await
    }
}

async fn read_fence(from: impl SqliteExecutor<'_>, partition: Partition) -> Result<Option<Fence>> {
    let row = sqlx::query("SELECT epoch, history FROM fences WHERE partition = ?1")
        .bind(i64::from(partition.0))
        .fetch_optional(from)
        .await
        .map_err(store_error)?;
    row.as_ref().map(fence).transpose()
}

fn fence(row: &SqliteRow) -> Result<Fence> {
    Ok(Fence {
        epoch: get_u64(row, "epoch")?,
        history: row.try_get("history").map_err(store_error)?,
    })
}

fn table_row(row: &SqliteRow) -> Result<Row> {
    Ok(Row {
        epoch: get_u64(row, "epoch")?,
        start: get_u64(row, "start")?,
        count: get_u64(row, "count")?,
    })
}

struct Raise {
    partition: Partition,
    from: Option<Fence>,
    to: Fence,
}

#[async_trait]
impl Write for Raise {
    type Answer = Fence;

    async fn apply(&self, batch: &mut Batch) -> Result<Fence> {
        let now = read_fence(batch.connection().await?, self.partition).await?;
        match now {
            Some(now) if self.from.as_ref() != Some(&now) => return Ok(now),
            None if self.from.is_some() => {
                return Err(corrupt("fences", "lacks a fence that stood before"));
            }
            Some(_) | None => {}
        }
        sqlx::query(
            "INSERT INTO fences (partition, epoch, history) VALUES (?1, ?2, ?3)
             ON CONFLICT (partition) DO UPDATE
             SET epoch = excluded.epoch, history = excluded.history",
        )
        .bind(i64::from(self.partition.0))
        .bind(int(self.to.epoch))
        .bind(&self.to.history)
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        Ok(self.to.clone())
    }
}

struct AddRow {
    group: GroupId,
    after: Option<Row>,
    row: Row,
}

impl AddRow {
    async fn last(&self, batch: &mut Batch) -> Result<Option<Row>> {
        let row = sqlx::query(
            "SELECT epoch, start, count FROM epochs WHERE group_id = ?1
             ORDER BY epoch DESC LIMIT 1",
        )
        .bind(self.group.as_bytes().as_slice())
        .fetch_optional(batch.connection().await?)
        .await
        .map_err(store_error)?;
        row.as_ref().map(table_row).transpose()
    }
}

#[async_trait]
impl Write for AddRow {
    type Answer = bool;

    /// Rows rise in epoch, so the new one is also the last.
    async fn apply(&self, batch: &mut Batch) -> Result<bool> {
        let last = self.last(batch).await?;
        let rises = last.is_none_or(|last| last.epoch < self.row.epoch);
        if last != self.after || !rises {
            return Ok(false);
        }
        sqlx::query("INSERT INTO epochs (group_id, epoch, start, count) VALUES (?1, ?2, ?3, ?4)")
            .bind(self.group.as_bytes().as_slice())
            .bind(int(self.row.epoch))
            .bind(int(self.row.start))
            .bind(int(self.row.count))
            .execute(batch.connection().await?)
            .await
            .map_err(store_error)?;
        Ok(true)
    }
}
