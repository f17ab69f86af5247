//! The two calls of a re-opening (epochs.md rule 4, steps a and e).

use redis::{Cmd, Value};

use super::append::position_or_empty;
use super::fault::corrupt;
use super::keys;
use super::library::{Function, Library};
use super::reply::{at, list, number, position, text};
use crate::model::epoch::{EpochTable, Row};
use crate::model::id::GroupId;
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::consumers::Consumer;
use crate::store::log::{Open, Opened, Prepared};

/// The call that announces an epoch.
pub(super) fn prepare(library: &Library, group: GroupId, history: &str, epoch: Epoch) -> Cmd {
    let mut call = library.call(Function::Prepare, &keys::all(group));
    call.arg(history).arg(epoch);
    call
}

/// Its answer.
pub(super) fn prepared(answer: &Value) -> Result<Prepared> {
    let answer = list(answer)?;
    match text(at(answer, 0)?)? {
        "ready" => {
            let top = Some(at(answer, 1)?).filter(|top| **top != Value::BulkString(Vec::new()));
            Ok(Prepared::Ready {
                top: top.map(position).transpose()?,
                remembers: number(at(answer, 2)?)? == 1,
            })
        }
        "history" => Ok(Prepared::OtherHistory(text(at(answer, 1)?)?.to_owned())),
        "stale" => Ok(Prepared::StaleEpoch),
        other => Err(corrupt(format!("a preparation answered {other}"))),
    }
}

/// The call that opens.
pub(super) fn open(library: &Library, open: &Open) -> Cmd {
    let consumers: Vec<_> = Consumer::ALL
        .iter()
        .map(|consumer| consumer.name())
        .collect();
    let mut call = library.call(Function::Open, &keys::opening(open.group));
    call.arg(&open.history)
        .arg(open.epoch)
        .arg(open.start)
        .arg(open.count)
        .arg(open.at.as_millis())
        .arg(open.stored.to_string())
        .arg(u8::from(open.own.is_none()))
        .arg(position_or_empty(open.expected_top))
        .arg(open.group.to_string())
        .arg(consumers.join(" "))
        .arg(table_text(&open.table));
    for (user, total) in open.own.iter().flatten() {
        call.arg(user.as_bytes()).arg(*total);
    }
    call
}

/// Its answer.
pub(super) fn opened(answer: &Value) -> Result<Opened> {
    match text(answer)? {
        "yes" => Ok(Opened::Yes),
        "no" => Ok(Opened::No),
        other => Err(corrupt(format!("an opening answered {other}"))),
    }
}

/// A table as `e` holds it.
fn table_text(table: &EpochTable) -> String {
    let text = |row: Row| format!("{} {} {};", row.epoch, row.start, row.count);
    table.rows().map(text).collect()
}

/// The table in `e`.
pub(super) fn table(text: &str) -> Result<EpochTable> {
    let row = |row: &str| {
        let mut numbers = row.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Row::from((next()?, next()?, next()?)))
    };
    let rows: Option<_> = text.split_terminator(';').map(row).collect();
    rows.ok_or_else(|| corrupt(format!("an epoch table of {} bytes", text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let rows = [(1, 1, 0), (4, 31, 28), (9, 1_000_000, 999_000)];
        let written: EpochTable = rows.into_iter().map(Row::from).collect();
        assert_eq!(table(&table_text(&written)).unwrap(), written);
        assert_eq!(table("").unwrap(), EpochTable::default());
        for bad in ["1 1", "1 1 x;", ";"] {
            assert!(table(bad).is_err(), "{bad}");
        }
    }
}
