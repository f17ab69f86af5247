//! Reads what `CLUSTER SLOTS` answers: ranges of slots, each with its master and its replicas.

use redis::Value;

use crate::store::Result;
use crate::store::redis::fault::corrupt;
use crate::store::redis::reply::{at, list, number, text};

/// Where a server is.
pub(super) type Place = (String, u16);

/// Who serves some slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u16,
    last: u16,
    pub(super) master: Place,
}

impl Range {
    pub(super) const fn contains(&self, slot: u16) -> bool {
        self.first <= slot && slot <= self.last
    }
}

/// The ranges in an answer of the server at `asked`, which may not know its own host.
pub(super) fn ranges(answer: &Value, asked: &str) -> Result<Vec<Range>> {
    let ranges = list(answer)?.iter().map(|item| range(list(item)?, asked));
    ranges.collect()
}

fn range(item: &[Value], asked: &str) -> Result<Range> {
    let master = list(at(item, 2)?)?;
    let host = match at(master, 0)? {
        Value::Nil => "",
        host => text(host)?,
    };
    let host = if matches!(host, "" | "?") {
        asked
    } else {
        host
    };
    Ok(Range {
        first: small(at(item, 0)?)?,
        last: small(at(item, 1)?)?,
        master: (host.to_owned(), small(at(master, 1)?)?),
    })
}

fn small(value: &Value) -> Result<u16> {
    let number = number(value)?;
    u16::try_from(number).map_err(|_invalid| corrupt(format!("{number} among slots and ports")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), text_of("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node])
    }

    fn text_of(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_server_that_does_not_know_its_host_is_where_it_was_asked() {
        let answer = Value::Array(vec![
            item(0, 5, text_of("10.0.0.1"), 1),
            item(6, 6, Value::Nil, 2),
            item(7, 16_383, text_of(""), 3),
        ]);
        let ranges = ranges(&answer, "here").unwrap();
        let master = |slot| ranges.iter().find(|range| range.contains(slot));
        assert_eq!(master(5).unwrap().master, ("10.0.0.1".to_owned(), 1));
        assert_eq!(master(6).unwrap().master, ("here".to_owned(), 2));
        assert_eq!(master(16_383).unwrap().master, ("here".to_owned(), 3));
        assert_eq!(master(16_384), None);
    }

    #[test]
    fn what_is_no_answer_is_corrupt() {
        let too_high = Value::Array(vec![item(0, 70_000, text_of("h"), 1)]);
        let short = Value::Array(vec![Value::Array(vec![Value::Int(1)])]);
        for answer in [Value::Nil, too_high, short] {
            assert!(ranges(&answer, "h").is_err(), "{answer:?}");
        }
    }
}
