//! Real Redis servers that the tests start themselves.

use crate::contract::{consumers, log, signals};

/// A log of a Redis of its own.
pub(crate) async fn log_subject() -> Option<log::Subject> {
    None
}

/// A log with consumers of a Redis of its own.
pub(crate) async fn consumers_subject() -> Option<consumers::Subject> {
    None
}

/// Signals of a Redis of its own.
pub(crate) async fn signals_subject() -> Option<signals::Subject> {
    None
}
