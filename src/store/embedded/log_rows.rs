//! The statements behind a batch: each reads or writes any number of rows at once, since every
//! statement costs a change of threads, which for one row is dearer than the row.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::batch::SentKey;
use super::database::store_error;
use super::rows::{corrupt, entry, get_position, get_time, get_u64, hex, int, json_list};
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::log::Head;

/// How many events one statement inserts: it bounds the text that is built for it, to 20 MiB
/// with the longest messages of all.
const EVENTS_MAX: usize = 128;

/// The heads of `groups`, in their order, each with the epoch announced to its partition.
pub(super) async fn load_heads(
    connection: &mut SqliteConnection,
    groups: &[GroupId],
) -> Result<Vec<(Option<Head>, Epoch)>> {
    let wanted = groups
        .iter()
        .map(|group| (hex(group.as_bytes()), group.partition().0));
    let rows = sqlx::query(
        "SELECT h.*, coalesce(a.epoch, 0) AS announced FROM json_each(?1) w
         LEFT JOIN log_heads h ON h.group_id = unhex(w.value ->> 0)
         LEFT JOIN log_announced a ON a.partition = w.value ->> 1 ORDER BY w.key",
    )
    .bind(json_list(wanted))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let found = |row| Ok((if_joined(row, head)?, get_u64(row, "announced")?));
    rows.iter().map(found).collect()
}

/// The newest event under each key, in their order, with the sender's own total.
pub(super) async fn load_sent(
    connection: &mut SqliteConnection,
    keys: &[SentKey],
) -> Result<Vec<(u64, Option<Entry>)>> {
    let wanted = keys.iter().map(|(group, (sender, client_id))| {
        let (group, sender) = (group.as_bytes(), sender.as_bytes());
        (hex(group), hex(sender), hex(client_id.as_bytes()))
    });
    let rows = sqlx::query(
        "SELECT e.*, coalesce(o.total, 0) AS own FROM json_each(?1) w
         LEFT JOIN own_totals o ON o.group_id = unhex(w.value ->> 0)
             AND o.sender_id = unhex(w.value ->> 1)
         LEFT JOIN events e ON e.group_id = unhex(w.value ->> 0) AND (e.epoch, e.seq) = (
             SELECT m.epoch, m.seq FROM events m INDEXED BY events_by_client_id
             WHERE m.group_id = unhex(w.value ->> 0) AND m.sender_id = unhex(w.value ->> 1)
             AND m.client_id = unhex(w.value ->> 2)
             ORDER BY m.epoch DESC, m.seq DESC LIMIT 1) ORDER BY w.key",
    )
    .bind(json_list(wanted))
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    let found = |row| Ok((get_u64(row, "own")?, if_joined(row, entry)?));
    rows.iter().map(found).collect()
}

/// Reads the columns of an outer join, which are null where there was no row.
fn if_joined<T>(row: &SqliteRow, read: impl Fn(&SqliteRow) -> Result<T>) -> Result<Option<T>> {
    let epoch: Option<i64> = row.try_get("epoch").map_err(store_error)?;
    epoch.map(|_| read(row)).transpose()
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

/// Writes events; one at a position where another stands is left out. Answers how many were
/// written.
pub(super) async fn insert_events(
    connection: &mut SqliteConnection,
    events: &[(GroupId, Entry)],
) -> Result<usize> {
    let mut inserted = 0;
    for events in events.chunks(EVENTS_MAX) {
        let rows: Vec<_> = events.iter().map(event_row).collect::<Result<_>>()?;
        let done = sqlx::query(INSERT_EVENTS)
            .bind(json_list(rows))
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        inserted += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
    }
    Ok(inserted)
}

const INSERT_EVENTS: &str = "
    INSERT INTO events (group_id, sender_id, client_id, digest, fixed,
        epoch, seq, kind, count, sender_count, at)
    SELECT unhex(value ->> '$[0][0]'), unhex(value ->> '$[0][1]'), unhex(value ->> '$[0][2]'),
        unhex(value ->> '$[0][3]'), CAST(value ->> 1 AS BLOB),
        value ->> '$[2][0]', value ->> '$[2][1]', value ->> '$[2][2]', value ->> '$[2][3]',
        value ->> '$[2][4]', value ->> '$[2][5]'
    FROM json_each(?1) WHERE true ON CONFLICT (group_id, epoch, seq) DO NOTHING";

type EventRow<'a> = ([String; 4], &'a str, [i64; 6]);

fn event_row((group, entry): &(GroupId, Entry)) -> Result<EventRow<'_>> {
    let fixed = std::str::from_utf8(&entry.fixed);
    let fixed = fixed.map_err(|error| corrupt("fixed", &error.to_string()))?;
    let ids = [
        hex(group.as_bytes()),
        hex(entry.sender.as_bytes()),
        hex(entry.client_id.as_bytes()),
        hex(entry.digest.as_bytes()),
    ];
    let numbers = [
        int(entry.pos.epoch),
        int(entry.pos.seq),
        i64::from(entry.kind.code()),
        int(entry.count),
        int(entry.sender_count),
        entry.at.as_millis(),
    ];
    Ok((ids, fixed, numbers))
}

/// Writes heads over those that stand.
pub(super) async fn write_heads(
    connection: &mut SqliteConnection,
    heads: impl Iterator<Item = (GroupId, Head)>,
) -> Result<()> {
    let rows = heads.map(|(group, head)| {
        let numbers = [
            int(head.pos.epoch),
            int(head.pos.seq),
            int(head.count),
            int(head.rights.epoch),
            int(head.rights.seq),
            head.at.as_millis(),
        ];
        (hex(group.as_bytes()), numbers)
    });
    write(
        connection,
        "INSERT OR REPLACE INTO log_heads
             (group_id, epoch, seq, count, rights_epoch, rights_seq, at)
         SELECT unhex(value ->> 0), value ->> '$[1][0]', value ->> '$[1][1]',
             value ->> '$[1][2]', value ->> '$[1][3]', value ->> '$[1][4]', value ->> '$[1][5]'
         FROM json_each(?1)",
        json_list(rows),
    )
    .await
}

/// Writes own totals over those that stand.
pub(super) async fn write_own(
    connection: &mut SqliteConnection,
    totals: impl Iterator<Item = (GroupId, UserId, u64)>,
) -> Result<()> {
    let rows = totals.map(|(group, sender, total)| {
        let (group, sender) = (hex(group.as_bytes()), hex(sender.as_bytes()));
        (group, sender, int(total))
    });
    write(
        connection,
        "INSERT OR REPLACE INTO own_totals (group_id, sender_id, total)
         SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2 FROM json_each(?1)",
        json_list(rows),
    )
    .await
}

/// Runs a statement over a list, unless the list is empty.
async fn write(
    connection: &mut SqliteConnection,
    statement: &'static str,
    rows: String,
) -> Result<()> {
    if rows != "[]" {
        let done = sqlx::query(statement).bind(rows).execute(connection);
        done.await.map_err(store_error)?;
    }
    Ok(())
}

/// Forgets the own totals of a group.
pub(super) async fn delete_own(connection: &mut SqliteConnection, group: GroupId) -> Result<()> {
    let done = sqlx::query("DELETE FROM own_totals WHERE group_id = ?1")
        .bind(group.as_bytes().as_slice())
        .execute(connection);
    done.await.map_err(store_error)?;
    Ok(())
}

/// Keeps the epoch announced to a partition.
pub(super) async fn write_announced(
    connection: &mut SqliteConnection,
    partition: Partition,
    epoch: Epoch,
) -> Result<()> {
    let done =
        sqlx::query("INSERT OR REPLACE INTO log_announced (partition, epoch) VALUES (?1, ?2)")
            .bind(i64::from(partition.0))
            .bind(int(epoch))
            .execute(connection);
    done.await.map_err(store_error)?;
    Ok(())
}
