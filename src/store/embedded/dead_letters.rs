//! Dead letters in the file.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::database::{Database, store_error};
use super::rows::{get_group, get_position, get_time, get_u64, int, limit};
use super::writer::{Write, Writer};
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::consumers::Consumer;
use crate::store::dead_letters::{DeadLetters, Letter, LetterId, Page};

/// [`DeadLetters`] in the file.
pub struct EmbeddedDeadLetters {
    database: Database,
    writer: Writer,
}

impl EmbeddedDeadLetters {
    /// The letters in this file.
    pub(super) const fn new(database: Database, writer: Writer) -> Self {
        Self { database, writer }
    }
}

#[async_trait]
impl DeadLetters for EmbeddedDeadLetters {
    async fn keep(&self, id: LetterId, at: Time, payload: &[u8], reason: &str) -> Result<()> {
        let keep = Keep {
            id,
            at,
            payload: payload.to_vec(),
            reason: reason.to_owned(),
        };
        self.writer.run(keep).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Letter>> {
        let (group, pos) = match page.after {
            Some(id) => (id.group, id.pos),
            None => (GroupId::from_bytes([0; 16]), Position::START),
        };
        let rows = sqlx::query(
            "SELECT group_id, epoch, seq, at, reason, length(payload) AS bytes FROM dead_letters
             WHERE consumer = ?1 AND (group_id, epoch, seq) > (?2, ?3, ?4)
             AND (?5 IS NULL OR group_id = ?5) ORDER BY group_id, epoch, seq LIMIT ?6",
        )
        .bind(page.consumer.name())
        .bind(group.as_bytes().as_slice())
        .bind(int(pos.epoch))
        .bind(int(pos.seq))
        .bind(page.group.as_ref().map(|group| group.as_bytes().as_slice()))
        .bind(limit(page.limit))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        rows.iter().map(|row| letter(page.consumer, row)).collect()
    }

    async fn payload(&self, id: LetterId) -> Result<Option<Vec<u8>>> {
        let payload = sqlx::query_scalar(
            "SELECT payload FROM dead_letters
             WHERE consumer = ?1 AND group_id = ?2 AND epoch = ?3 AND seq = ?4",
        );
        payload
            .bind(id.consumer.name())
            .bind(id.group.as_bytes().as_slice())
            .bind(int(id.pos.epoch))
            .bind(int(id.pos.seq))
            .fetch_optional(self.database.reader())
            .await
            .map_err(store_error)
    }

    async fn remove(&self, id: LetterId) -> Result<()> {
        self.writer.run(Remove { id }).await
    }
}

fn letter(consumer: Consumer, row: &SqliteRow) -> Result<Letter> {
    let id = LetterId {
        consumer,
        group: get_group(row, "group_id")?,
        pos: get_position(row, "epoch", "seq")?,
    };
    Ok(Letter {
        id,
        at: get_time(row, "at")?,
        reason: row.try_get("reason").map_err(store_error)?,
        bytes: get_u64(row, "bytes")?,
    })
}

struct Keep {
    id: LetterId,
    at: Time,
    payload: Vec<u8>,
    reason: String,
}

#[async_trait]
impl Write for Keep {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<()> {
        sqlx::query(
            "INSERT INTO dead_letters (consumer, group_id, epoch, seq, at, payload, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )
        .bind(self.id.consumer.name())
        .bind(self.id.group.as_bytes().as_slice())
        .bind(int(self.id.pos.epoch))
        .bind(int(self.id.pos.seq))
        .bind(self.at.as_millis())
        .bind(&self.payload)
        .bind(&self.reason)
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        Ok(())
    }
}

struct Remove {
    id: LetterId,
}

#[async_trait]
impl Write for Remove {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<()> {
        sqlx::query(
            "DELETE FROM dead_letters
             WHERE consumer = ?1 AND group_id = ?2 AND epoch = ?3 AND seq = ?4",
        )
        .bind(self.id.consumer.name())
        .bind(self.id.group.as_bytes().as_slice())
        .bind(int(self.id.pos.epoch))
        .bind(int(self.id.pos.seq))
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        Ok(())
    }
}
