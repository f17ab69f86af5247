//! Read marks and mentions in the file.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteExecutor;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::database::{Database, store_error};
use super::record::Record;
use super::rows::{get_group, get_position, get_u64, group_list, int, position_list};
use super::writer::{Write, Writer};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals};
use crate::store::Result;
use crate::store::unread::{Learnt, Unread};

/// What unread counts are made of.
pub struct EmbeddedUnread {
    database: Database,
    writer: Writer,
}

impl EmbeddedUnread {
    /// What this file keeps.
    pub(super) const fn new(database: Database, writer: Writer) -> Self {
        Self { database, writer }
    }
}

#[async_trait]
impl Unread for EmbeddedUnread {
    async fn record(&self, learnt: &Learnt) -> Result<()> {
        self.writer.run(Record::new(learnt)).await
    }

    async fn marks(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Option<ReadMark>>> {
        let found = marks(self.database.reader(), user, groups).await?;
        Ok(groups
            .iter()
            .map(|group| found.get(group).copied())
            .collect())
    }

    /// A mark that moves nothing costs no fsync.
    async fn mark_read(&self, user: UserId, group: GroupId, mark: ReadMark) -> Result<ReadMark> {
        let now = mark_of(self.database.reader(), user, group).await?;
        match now {
            Some(now) if now.pos >= mark.pos => Ok(now),
            Some(_) | None => self.writer.run(MarkRead { user, group, mark }).await,
        }
    }

    async fn mentions(
        &self,
        user: UserId,
        groups: &[(GroupId, Position)],
    ) -> Result<Vec<Vec<Position>>> {
        let rows = sqlx::query(
            "SELECT w.key AS place, m.epoch, m.seq FROM json_each(?1) w CROSS JOIN mentions m
             ON m.user_id = ?2 AND m.group_id = unhex(w.value ->> 0)
             AND (m.epoch, m.seq) > (w.value ->> 1, w.value ->> 2) AND m.by_id <> ?2
             UNION ALL
             SELECT w.key AS place, m.epoch, m.seq FROM json_each(?1) w CROSS JOIN mentions_all m
             ON m.group_id = unhex(w.value ->> 0)
             AND (m.epoch, m.seq) > (w.value ->> 1, w.value ->> 2) AND m.by_id <> ?2",
        )
        .bind(position_list(groups.iter().copied()))
        .bind(user.as_bytes().as_slice())
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        let mut mentions = vec![Vec::new(); groups.len()];
        for row in &rows {
            let place = usize::try_from(get_u64(row, "place")?).unwrap_or(usize::MAX);
            if let Some(mentions) = mentions.get_mut(place) {
                mentions.push(get_position(row, "epoch", "seq")?);
            }
        }
        Ok(mentions)
    }
}

async fn marks(
    from: impl SqliteExecutor<'_>,
    user: UserId,
    groups: &[GroupId],
) -> Result<HashMap<GroupId, ReadMark>> {
    let rows = sqlx::query(
        "SELECT m.* FROM json_each(?1) w
         CROSS JOIN read_marks m ON m.user_id = ?2 AND m.group_id = unhex(w.value)",
    )
    .bind(group_list(groups))
    .bind(user.as_bytes().as_slice())
    .fetch_all(from)
    .await
    .map_err(store_error)?;
    let mark = |row| Ok((get_group(row, "group_id")?, mark(row)?));
    rows.iter().map(mark).collect()
}

async fn mark_of(
    from: impl SqliteExecutor<'_>,
    user: UserId,
    group: GroupId,
) -> Result<Option<ReadMark>> {
    Ok(marks(from, user, &[group]).await?.remove(&group))
}

fn mark(row: &SqliteRow) -> Result<ReadMark> {
    Ok(ReadMark {
        pos: get_position(row, "epoch", "seq")?,
        totals: Totals {
            count: get_u64(row, "count")?,
            own: get_u64(row, "own")?,
        },
    })
}

struct MarkRead {
    user: UserId,
    group: GroupId,
    mark: ReadMark,
}

#[async_trait]
impl Write for MarkRead {
    type Answer = ReadMark;

    async fn apply(&self, batch: &mut Batch) -> Result<ReadMark> {
        sqlx::query(
            "INSERT INTO read_marks (user_id, group_id, epoch, seq, count, own)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (user_id, group_id) DO UPDATE
             SET epoch = excluded.epoch, seq = excluded.seq,
                 count = excluded.count, own = excluded.own
             WHERE (epoch, seq) < (excluded.epoch, excluded.seq)",
        )
        .bind(self.user.as_bytes().as_slice())
        .bind(self.group.as_bytes().as_slice())
        .bind(int(self.mark.pos.epoch))
        .bind(int(self.mark.pos.seq))
        .bind(int(self.mark.totals.count))
        .bind(int(self.mark.totals.own))
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        let now = mark_of(batch.connection().await?, self.user, self.group).await?;
        Ok(now.unwrap_or(self.mark))
    }
}
