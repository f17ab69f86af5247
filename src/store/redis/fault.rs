//! Errors of the driver in the terms of the boundary: what may succeed later is `Unavailable`.

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use crate::store::StoreError;

/// The store's name in errors.
pub(super) const STORE: &str = "redis";

/// What Redis answers while it cannot serve, beyond the codes that the driver knows: out of
/// memory, too few replicas, a disk that fails, a function that runs too long.
const TRANSIENT: &[&str] = &["OOM", "NOREPLICAS", "MISCONF", "BUSY", "UNKILLABLE"];

/// The error of a call.
pub(super) fn fault(error: RedisError) -> StoreError {
    if is_transient(&error) {
        unavailable(error)
    } else {
        StoreError::failed(STORE, error)
    }
}

/// An error after which the call may be made again.
pub(super) fn unavailable(source: impl Into<crate::store::Cause>) -> StoreError {
    StoreError::unavailable(STORE, source)
}

/// An answer that this version cannot have caused.
pub(super) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::corrupt(STORE, what)
}

/// Whether a call was refused for want of memory, so that it wrote nothing.
pub(super) fn is_out_of_memory(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else {
        return false;
    };
    let error = source.downcast_ref::<RedisError>();
    error.and_then(RedisError::code) == Some("OOM")
}

fn is_transient(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::MasterNameNotFoundBySentinel => true,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            // What a call was about is somewhere else by now, or on its way there.
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => true,
        _ => error.code().is_some_and(|code| TRANSIENT.contains(&code)),
    }
}

/// Whether the connection cannot be trusted any more. After a time-out it may be half open, and
/// only a new one tells.
pub(super) fn breaks_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}

/// Whether a server answers that it is a replica, and the master somebody else by now.
pub(super) fn is_demoted(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly))
}

/// Whether a call was answered by this error.
pub(super) fn is_answer_of(answer: &RedisResult<Value>, kind: ServerErrorKind) -> bool {
    matches!(answer, Err(error) if error.kind() == ErrorKind::Server(kind))
}

/// Whether the server lacks our functions: another one, or somebody flushed them. Redis gives
/// this error no code of its own.
pub(super) fn lacks_function(answer: &RedisResult<Value>) -> bool {
    matches!(answer, Err(error) if error.detail() == Some("Function not found"))
}
