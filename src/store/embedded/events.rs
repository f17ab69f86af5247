//! Reads of the events' table, which the log and the message store share: what the log took is
//! at once the message that is stored. Dead positions are among what is read.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;

use super::database::store_error;
use super::rows::{entries, event_columns, int, limit};
use crate::model::event::Entry;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;

/// Above every position.
const END: Position = Position::new(u64::MAX, u64::MAX);

/// Events of one group with `after < pos ≤ upto`, ascending, at most `max`.
pub(super) async fn range(
    pool: &SqlitePool,
    group: GroupId,
    after: Position,
    upto: Option<Position>,
    max: usize,
) -> Result<Vec<Entry>> {
    entries(&range_rows(pool, group, after, upto, max).await?)
}

/// As [`range`], for those who must go on after a row that cannot be read.
pub(super) async fn range_rows(
    pool: &SqlitePool,
    group: GroupId,
    after: Position,
    upto: Option<Position>,
    max: usize,
) -> Result<Vec<SqliteRow>> {
    let upto = upto.unwrap_or(END);
    sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        " FROM events WHERE group_id = ?1 AND (epoch, seq) > (?2, ?3)
         AND (epoch, seq) <= (?4, ?5) ORDER BY epoch, seq LIMIT ?6",
    ))
    .bind(group.as_bytes().as_slice())
    .bind(int(after.epoch))
    .bind(int(after.seq))
    .bind(int(upto.epoch))
    .bind(int(upto.seq))
    .bind(limit(max))
    .fetch_all(pool)
    .await
    .map_err(store_error)
}

/// The highest `max` events of one group below `before`, ascending.
pub(super) async fn range_back(
    pool: &SqlitePool,
    group: GroupId,
    before: Option<Position>,
    max: usize,
) -> Result<Vec<Entry>> {
    let before = before.unwrap_or(END);
    let rows = sqlx::query(concat!(
        "SELECT ",
        event_columns!(),
        " FROM events WHERE group_id = ?1 AND (epoch, seq) < (?2, ?3)
         ORDER BY epoch DESC, seq DESC LIMIT ?4",
    ))
    .bind(group.as_bytes().as_slice())
    .bind(int(before.epoch))
    .bind(int(before.seq))
    .bind(limit(max))
    .fetch_all(pool)
    .await
    .map_err(store_error)?;
    let mut found = entries(&rows)?;
    found.reverse();
    Ok(found)
}
