//! Between rows of the file and the vocabulary: ids are 16 bytes, a position two integers, an
//! event the columns [`EVENT`]. A value that this version cannot have written is `Corrupt`,
//! never a panic and never silently something else.

use bytes::Bytes;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::database::{STORE, store_error};
use crate::model::client_id::ClientId;
use crate::model::digest::Digest;
use crate::model::event::{Entry, Kind};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::store::{Result, StoreError};

/// The columns of an event, for a SELECT.
macro_rules! event_columns {
    () => {
        "epoch, seq, kind, sender_id, client_id, digest, count, sender_count, at, fixed"
    };
}
pub(super) use event_columns;

/// The value as a column keeps it. Above what a column can hold it becomes the largest, which
/// no position or count reaches.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit as a LIMIT clause takes it.
pub(super) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An integer column that is never negative.
pub(super) fn get_u64(row: &SqliteRow, column: &str) -> Result<u64> {
    let value: i64 = row.try_get(column).map_err(store_error)?;
    u64::try_from(value).map_err(|error| corrupt(column, &error.to_string()))
}

/// A position in two columns.
pub(super) fn get_position(row: &SqliteRow, epoch: &str, seq: &str) -> Result<Position> {
    Ok(Position::new(get_u64(row, epoch)?, get_u64(row, seq)?))
}

/// A moment.
pub(super) fn get_time(row: &SqliteRow, column: &str) -> Result<Time> {
    let millis = row.try_get(column).map_err(store_error)?;
    Ok(Time::from_millis(millis))
}

/// A column of bytes, read by `parse`.
pub(super) fn get_bytes<T>(
    row: &SqliteRow,
    column: &str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T> {
    let bytes: &[u8] = row.try_get(column).map_err(store_error)?;
    parse(bytes).ok_or_else(|| corrupt(column, "has the wrong length"))
}

/// A person's id.
pub(super) fn get_user(row: &SqliteRow, column: &str) -> Result<UserId> {
    get_bytes(row, column, UserId::from_slice)
}

/// A group's id.
pub(super) fn get_group(row: &SqliteRow, column: &str) -> Result<GroupId> {
    get_bytes(row, column, GroupId::from_slice)
}

/// The event in the columns [`event_columns`].
pub(super) fn entry(row: &SqliteRow) -> Result<Entry> {
    Ok(Entry {
        pos: get_position(row, "epoch", "seq")?,
        kind: get_kind(row)?,
        sender: get_user(row, "sender_id")?,
        client_id: get_bytes(row, "client_id", ClientId::from_slice)?,
        digest: get_bytes(row, "digest", Digest::from_slice)?,
        count: get_u64(row, "count")?,
        sender_count: get_u64(row, "sender_count")?,
        at: get_time(row, "at")?,
        fixed: get_bytes(row, "fixed", |text| Some(Bytes::copy_from_slice(text)))?,
    })
}

/// The events in some rows, in their order.
pub(super) fn entries(rows: &[SqliteRow]) -> Result<Vec<Entry>> {
    rows.iter().map(entry).collect()
}

fn get_kind(row: &SqliteRow) -> Result<Kind> {
    let code = get_u64(row, "kind")?;
    let kind = u8::try_from(code).ok().and_then(Kind::from_code);
    kind.ok_or_else(|| corrupt("kind", "is unknown to this version"))
}

/// What was read is not what this version can have written.
pub(super) fn corrupt(column: &str, what: &str) -> StoreError {
    StoreError::corrupt(STORE, format!("{column} {what}"))
}

/// A list as JSON, for `json_each`: whatever its length, it is one parameter of one statement
/// that is prepared once. Ids stand in it as [`hex`].
pub(super) fn json_list<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    serde_json::to_string(&items).expect("lists of text and numbers always serialise")
}

/// Groups, for [`json_list`]: each is `unhex(value)`.
pub(super) fn group_list(groups: &[GroupId]) -> String {
    json_list(groups.iter().map(|group| hex(group.as_bytes())))
}

/// Groups with a position each: `unhex(value ->> 0)`, `value ->> 1`, `value ->> 2`.
pub(super) fn position_list(positions: impl IntoIterator<Item = (GroupId, Position)>) -> String {
    let row =
        |(group, pos): (GroupId, Position)| (hex(group.as_bytes()), int(pos.epoch), int(pos.seq));
    json_list(positions.into_iter().map(row))
}

/// The digits that `unhex` reads.
pub(super) fn hex(id: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    id.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_two_digits_a_byte() {
        let mut id = [0; 16];
        (id[0], id[1], id[15]) = (0x0a, 0xf0, 0xff);
        assert_eq!(hex(&id), "0af000000000000000000000000000ff");
    }
}
