//! The history in the file: the same rows as the log's, so that what was accepted is already
//! kept, and keeping it again finds it there.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteExecutor;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::database::{Database, store_error};
use super::events;
use super::log_rows::insert_events;
use super::rows::{
    corrupt, entries, entry, event_columns, get_bytes, get_group, get_position, get_u64, get_user,
    group_list, int, limit, position_list,
};
use super::writer::{Write, Writer};
use crate::model::client_id::ClientId;
use crate::model::digest::Digest;
use crate::model::epoch::Span;
use crate::model::event::{Entry, Kind};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::store::Result;
use crate::store::log::SendKey;
use crate::store::messages::{Few, Inserted, Messages, Sums};

/// Reads some messages of one sender, in an order.
macro_rules! select_sent {
    ($order:literal) => {
        concat!(
            "SELECT epoch, seq, sender_count FROM events INDEXED BY events_by_sender
             WHERE group_id = ?1 AND sender_id = ?2 AND kind = 1
             AND (epoch, seq) > (?3, ?4) AND (epoch, seq) <= (?5, ?6) ORDER BY ",
            $order,
            " LIMIT ?7",
        )
    };
}

/// Every event of every group.
pub struct EmbeddedMessages {
    database: Database,
    writer: Writer,
}

impl EmbeddedMessages {
    /// The history in this file.
    pub(super) const fn new(database: Database, writer: Writer) -> Self {
        Self { database, writer }
    }
}

#[async_trait]
impl Messages for EmbeddedMessages {
    /// If all are there already, which is usual since the append wrote them, it costs no fsync.
    async fn insert(&self, entries: &[(GroupId, Entry)]) -> Result<Vec<Inserted>> {
        let kept = identities(self.database.reader(), entries).await?;
        if let Some(answers) = compare_all(&kept, entries) {
            return Ok(answers);
        }
        let entries = entries.to_vec();
        self.writer.run(Insert { entries }).await
    }

    async fn restore(&self, group: GroupId, entry: &Entry) -> Result<Inserted> {
        let entry = [(group, entry.clone())];
        self.writer.run(Restore { entry }).await
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        events::range(self.database.reader(), group, after, upto, limit).await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        events::range_back(self.database.reader(), group, before, limit).await
    }

    async fn positions(
        &self,
        group: GroupId,
        after: Position,
        limit_max: usize,
    ) -> Result<Vec<Position>> {
        let rows = sqlx::query(
            "SELECT epoch, seq FROM events WHERE group_id = ?1 AND (epoch, seq) > (?2, ?3)
             ORDER BY epoch, seq LIMIT ?4",
        )
        .bind(group.as_bytes().as_slice())
        .bind(int(after.epoch))
        .bind(int(after.seq))
        .bind(limit(limit_max))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        let pos = |row| get_position(row, "epoch", "seq");
        rows.iter().map(pos).collect()
    }

    async fn newest(&self, groups: &[GroupId]) -> Result<Vec<Option<Entry>>> {
        let rows = sqlx::query(
            "SELECT w.key AS place, e.* FROM json_each(?1) w CROSS JOIN events e
             ON e.group_id = unhex(w.value) AND (e.epoch, e.seq) = (
                 SELECT m.epoch, m.seq FROM events m WHERE m.group_id = unhex(w.value)
                 ORDER BY m.epoch DESC, m.seq DESC LIMIT 1)",
        )
        .bind(group_list(groups))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        placed(&rows, groups.len())
    }

    /// Kind 1 is the message, the one kind that is counted.
    async fn last_messages(&self, groups: &[(GroupId, Position)]) -> Result<Vec<Option<Entry>>> {
        let rows = sqlx::query(
            "SELECT w.key AS place, e.* FROM json_each(?1) w CROSS JOIN events e
             ON e.group_id = unhex(w.value ->> 0) AND (e.epoch, e.seq) = (
                 SELECT m.epoch, m.seq FROM events m
                 WHERE m.group_id = unhex(w.value ->> 0) AND m.kind = 1
                 AND (m.epoch, m.seq) <= (w.value ->> 1, w.value ->> 2)
                 ORDER BY m.epoch DESC, m.seq DESC LIMIT 1)",
        )
        .bind(position_list(groups.iter().copied()))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        placed(&rows, groups.len())
    }

    async fn find_sent(&self, group: GroupId, key: SendKey, from: Position) -> Result<Vec<Entry>> {
        let (sender, client_id) = key;
        let rows = sqlx::query(concat!(
            "SELECT ",
            event_columns!(),
            " FROM events INDEXED BY events_by_client_id
             WHERE group_id = ?1 AND sender_id = ?2 AND client_id = ?3
             AND (epoch, seq) >= (?4, ?5) ORDER BY epoch, seq",
        ))
        .bind(group.as_bytes().as_slice())
        .bind(sender.as_bytes().as_slice())
        .bind(client_id.as_bytes().as_slice())
        .bind(int(from.epoch))
        .bind(int(from.seq))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        entries(&rows)
    }

    async fn sent_between(
        &self,
        group: GroupId,
        sender: UserId,
        after: Position,
        upto: Position,
        few: Few,
    ) -> Result<Vec<(Position, u64)>> {
        let (statement, most) = match few {
            Few::First(most) => (select_sent!("epoch, seq"), most),
            Few::Last(most) => (select_sent!("epoch DESC, seq DESC"), most),
        };
        let rows = sqlx::query(statement)
            .bind(group.as_bytes().as_slice())
            .bind(sender.as_bytes().as_slice())
            .bind(int(after.epoch))
            .bind(int(after.seq))
            .bind(int(upto.epoch))
            .bind(int(upto.seq))
            .bind(limit(most))
            .fetch_all(self.database.reader())
            .await
            .map_err(store_error)?;
        let pair = |row| {
            Ok((
                get_position(row, "epoch", "seq")?,
                get_u64(row, "sender_count")?,
            ))
        };
        rows.iter().map(pair).collect()
    }

    async fn sums(&self, group: GroupId, span: Span) -> Result<Sums> {
        let rows = sqlx::query(
            "SELECT sender_id, COUNT(*) AS events,
                 MAX(CASE WHEN kind = 1 THEN sender_count ELSE 0 END) AS own
             FROM events WHERE group_id = ?1 AND epoch = ?2 AND seq BETWEEN ?3 AND ?4
             GROUP BY sender_id",
        )
        .bind(group.as_bytes().as_slice())
        .bind(int(span.epoch))
        .bind(int(span.first))
        .bind(int(span.last))
        .fetch_all(self.database.reader())
        .await
        .map_err(store_error)?;
        let sender = |row| {
            Ok((
                get_user(row, "sender_id")?,
                get_u64(row, "events")?,
                get_u64(row, "own")?,
            ))
        };
        rows.iter().map(sender).collect()
    }
}

/// What makes an entry the same as another: digests alone would take two people's "ok" for one.
type Identity = (UserId, ClientId, Digest);

fn identity(entry: &Entry) -> Identity {
    (entry.sender, entry.client_id, entry.digest)
}

/// What stands at the positions of `entries` now.
async fn identities(
    from: impl SqliteExecutor<'_>,
    entries: &[(GroupId, Entry)],
) -> Result<HashMap<(GroupId, Position), Identity>> {
    let at = entries.iter().map(|(group, entry)| (*group, entry.pos));
    let rows = sqlx::query(
        "SELECT e.group_id, e.epoch, e.seq, e.sender_id, e.client_id, e.digest
         FROM json_each(?1) w CROSS JOIN events e ON e.group_id = unhex(w.value ->> 0)
         AND e.epoch = w.value ->> 1 AND e.seq = w.value ->> 2",
    )
    .bind(position_list(at))
    .fetch_all(from)
    .await
    .map_err(store_error)?;
    let row = |row| {
        let identity = (
            get_user(row, "sender_id")?,
            get_bytes(row, "client_id", ClientId::from_slice)?,
            get_bytes(row, "digest", Digest::from_slice)?,
        );
        let at = (
            get_group(row, "group_id")?,
            get_position(row, "epoch", "seq")?,
        );
        Ok((at, identity))
    };
    rows.iter().map(row).collect()
}

/// Rows with a `place` below `len`, each in its place.
fn placed(rows: &[SqliteRow], len: usize) -> Result<Vec<Option<Entry>>> {
    let read = |row| Ok((get_u64(row, "place")?, entry(row)?));
    let mut found: HashMap<_, _> = rows.iter().map(read).collect::<Result<_>>()?;
    Ok((0..).take(len).map(|place| found.remove(&place)).collect())
}

/// The answers for all entries; `None` if something stands at not all of their positions.
fn compare_all(
    kept: &HashMap<(GroupId, Position), Identity>,
    entries: &[(GroupId, Entry)],
) -> Option<Vec<Inserted>> {
    let compare = |(group, entry): &(GroupId, Entry)| {
        let kept = kept.get(&(*group, entry.pos))?;
        let is_same = *kept == identity(entry);
        Some(if is_same {
            Inserted::Kept
        } else {
            Inserted::Different
        })
    };
    entries.iter().map(compare).collect()
}

struct Insert {
    entries: Vec<(GroupId, Entry)>,
}

#[async_trait]
impl Write for Insert {
    type Answer = Vec<Inserted>;

    /// What stands at a position stays; then everything is compared with what stands there.
    async fn apply(&self, batch: &mut Batch) -> Result<Vec<Inserted>> {
        insert_events(batch.connection().await?, &self.entries).await?;
        let kept = identities(batch.connection().await?, &self.entries).await?;
        compare_all(&kept, &self.entries).ok_or_else(|| corrupt("events", "lacks a row just kept"))
    }
}

/// Puts an entry where a placeholder or nothing stands.
struct Restore {
    entry: [(GroupId, Entry); 1],
}

#[async_trait]
impl Write for Restore {
    type Answer = Inserted;

    async fn apply(&self, batch: &mut Batch) -> Result<Inserted> {
        let [(group, entry)] = &self.entry;
        sqlx::query(
            "DELETE FROM events WHERE group_id = ?1 AND epoch = ?2 AND seq = ?3 AND kind = ?4",
        )
        .bind(group.as_bytes().as_slice())
        .bind(int(entry.pos.epoch))
        .bind(int(entry.pos.seq))
        .bind(i64::from(Kind::Lost.code()))
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        insert_events(batch.connection().await?, &self.entry).await?;
        let kept = identities(batch.connection().await?, &self.entry).await?;
        compare_all(&kept, &self.entry)
            .and_then(|answers| answers.into_iter().next())
            .ok_or_else(|| corrupt("events", "lacks a row just kept"))
    }
}
