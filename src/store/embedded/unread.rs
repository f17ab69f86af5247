//! Read marks, own totals and mentions in the file.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteExecutor};

use super::batch::Batch;
use super::database::{Database, store_error};
use super::record::Record;
use super::rows::{get_group, get_position, get_u64, group_list, int, position_list};
use super::writer::{Write, Writer};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals};
use crate::store::Result;
use crate::store::unread::{Cursor, Learnt, Unread};

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

    async fn cursors(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Cursor>> {
        let found = cursors(self.database.reader(), user, groups).await?;
        let cursor = |group| found.get(group).copied().unwrap_or_default();
        Ok(groups.iter().map(cursor).collect())
    }

    /// A mark that moves nothing costs no fsync.
    async fn mark_read(&self, user: UserId, group: GroupId, mark: ReadMark) -> Result<ReadMark> {
        let now = read_mark(self.database.reader(), user, group).await?;
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

async fn cursors(
    from: impl SqliteExecutor<'_>,
    user: UserId,
    groups: &[GroupId],
) -> Result<HashMap<GroupId, Cursor>> {
    let rows = sqlx::query(
        "SELECT c.* FROM json_each(?1) w
         CROSS JOIN read_cursors c ON c.user_id = ?2 AND c.group_id = unhex(w.value)",
    )
    .bind(group_list(groups))
    .bind(user.as_bytes().as_slice())
    .fetch_all(from)
    .await
    .map_err(store_error)?;
    let cursor = |row| Ok((get_group(row, "group_id")?, cursor(row)?));
    rows.iter().map(cursor).collect()
}

async fn read_mark(
    from: impl SqliteExecutor<'_>,
    user: UserId,
    group: GroupId,
) -> Result<Option<ReadMark>> {
    let found = cursors(from, user, &[group]).await?;
    Ok(found.get(&group).and_then(|cursor| cursor.read))
}

fn cursor(row: &SqliteRow) -> Result<Cursor> {
    let is_marked: Option<i64> = row.try_get("read_epoch").map_err(store_error)?;
    let own = get_position(row, "own_epoch", "own_seq")?;
    Ok(Cursor {
        read: is_marked.map(|_| mark(row)).transpose()?,
        own: (own, get_u64(row, "own_count")?),
    })
}

fn mark(row: &SqliteRow) -> Result<ReadMark> {
    Ok(ReadMark {
        pos: get_position(row, "read_epoch", "read_seq")?,
        totals: Totals {
            count: get_u64(row, "read_count")?,
            own: get_u64(row, "read_own")?,
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
            "INSERT INTO read_cursors
                 (user_id, group_id, read_epoch, read_seq, read_count, read_own)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (user_id, group_id) DO UPDATE
             SET read_epoch = excluded.read_epoch, read_seq = excluded.read_seq,
                 read_count = excluded.read_count, read_own = excluded.read_own
             WHERE read_epoch IS NULL
             OR (read_epoch, read_seq) < (excluded.read_epoch, excluded.read_seq)",
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
        let now = read_mark(batch.connection().await?, self.user, self.group).await?;
        Ok(now.unwrap_or(self.mark))
    }
}
