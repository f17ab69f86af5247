//! Reads what `INFO` answers.

use redis::Value;

use super::reply::text;
use crate::store::Result;

/// The text of an `INFO`, which RESP3 sends as a verbatim string.
pub(super) fn info_text(info: &Value) -> Result<String> {
    match info {
        Value::VerbatimString { text, .. } => Ok(text.clone()),
        other => text(other).map(str::to_owned),
    }
}

/// The value of one line of an `INFO`.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
