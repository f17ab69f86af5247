//! Reads answers of Redis. What does not have the expected form is `Corrupt`, never a panic.

use redis::Value;

use super::fault::corrupt;
use crate::model::position::Position;
use crate::store::Result;

pub(super) fn bytes(value: &Value) -> Result<&[u8]> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.as_bytes()),
        other => Err(unexpected("a string", other)),
    }
}

pub(super) fn text(value: &Value) -> Result<&str> {
    str::from_utf8(bytes(value)?).map_err(|error| corrupt(format!("a string: {error}")))
}

pub(super) fn list(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        other => Err(unexpected("a list", other)),
    }
}

/// A number, whether Redis sent it as one or as text.
pub(super) fn number(value: &Value) -> Result<u64> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(other)?.parse().ok(),
    };
    number.ok_or_else(|| unexpected("a number", value))
}

pub(super) fn position(value: &Value) -> Result<Position> {
    text(value)?
        .parse()
        .map_err(|_invalid| unexpected("a position", value))
}

/// The item at `index` of an answer.
pub(super) fn at(items: &[Value], index: usize) -> Result<&Value> {
    items
        .get(index)
        .ok_or_else(|| corrupt(format!("an answer of {} items", items.len())))
}

/// The pairs of a map; none for nil.
pub(super) fn pairs(value: &Value) -> Result<&[(Value, Value)]> {
    match value {
        Value::Map(pairs) => Ok(pairs),
        Value::Nil => Ok(&[]),
        other => Err(unexpected("a map", other)),
    }
}

/// The value of `name` in a list of names and values.
pub(super) fn field<'a>(flat: &'a [Value], name: &str) -> Result<&'a Value> {
    let mut pairs = flat.as_chunks::<2>().0.iter();
    let found = pairs.find(|[key, _]| bytes(key).is_ok_and(|key| key == name.as_bytes()));
    found
        .map(|[_, value]| value)
        .ok_or_else(|| corrupt(format!("no field {name}")))
}

fn unexpected(wanted: &str, found: &Value) -> crate::store::StoreError {
    let mut found = format!("{found:?}");
    found.truncate(found.floor_char_boundary(100));
    corrupt(format!("expected {wanted}, found {found}"))
}
