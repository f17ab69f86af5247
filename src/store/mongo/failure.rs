//! From the driver's errors to [`StoreError`]: what a caller can do about them. Whatever leaves
//! the outcome of a write unknown is `Unavailable`, never `Failed`.

use mongodb::bson::Document;
use mongodb::error::{
    Error, ErrorKind, InsertManyError, RETRYABLE_ERROR, RETRYABLE_WRITE_ERROR, WriteFailure,
};

use crate::store::{Cause, Result, StoreError};

/// The name of this store in errors.
const STORE: &str = "mongodb";

/// A unique key is taken.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// Codes that tell of the server's state and not of the request: the same request may be taken
/// later. Besides those by which a driver retries: 18 and 13 (credentials, which an operator
/// mends), 24, 46 and 112 (locks), 43, 175 and 237 (a cursor or a plan was killed), 50 and 64
/// (time-outs), 133 (no primary in sight), 11601 (interrupted), 14031 (disk full).
const STATE_CODES: &[i32] = &[
    6, 7, 13, 18, 24, 43, 46, 50, 64, 89, 91, 112, 133, 134, 175, 189, 237, 262, 9001, 10058,
    10107, 11600, 11601, 11602, 13435, 13436, 14031,
];

/// The store did not answer, or its outcome is unknown.
pub(super) fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::unavailable(STORE, source)
}

/// The store refused for good.
pub(super) fn failed(source: impl Into<Cause>) -> StoreError {
    StoreError::failed(STORE, source)
}

/// A document is not what this version can have written.
pub(super) fn corrupt(what: impl Into<String>) -> StoreError {
    StoreError::corrupt(STORE, what)
}

/// What a driver's error means to a caller.
pub(super) fn classify(error: Error) -> StoreError {
    if matches!(*error.kind, ErrorKind::Bson(_)) {
        return corrupt(error.to_string());
    }
    if is_state(&error) {
        unavailable(error)
    } else {
        failed(error)
    }
}

/// Whether the error tells of the server's state or of the way to it.
fn is_state(error: &Error) -> bool {
    if error.contains_label(RETRYABLE_ERROR) || error.contains_label(RETRYABLE_WRITE_ERROR) {
        return true;
    }
    match &*error.kind {
        ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::Shutdown
        | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => true,
        ErrorKind::Write(WriteFailure::WriteError(error)) => is_state_or_race(error.code),
        ErrorKind::Command(error) => is_state_or_race(error.code),
        ErrorKind::InsertMany(error) => insert_is_state(error),
        _ => false,
    }
}

fn insert_is_state(error: &InsertManyError) -> bool {
    let codes = error.write_errors.iter().flatten().map(|error| error.code);
    error.write_concern_error.is_some() || codes.into_iter().any(is_state_code)
}

/// Outside an insert a duplicate key is two upserts that raced: the next try finds the document.
fn is_state_or_race(code: i32) -> bool {
    code == DUPLICATE_KEY || is_state_code(code)
}

fn is_state_code(code: i32) -> bool {
    STATE_CODES.contains(&code)
}

/// The indices of the documents that were there before, if that is all that went wrong with an
/// unordered insert.
///
/// # Errors
/// Anything else; also duplicates together with a write-concern error, since what stands there
/// is then not known to be durable (GUARANTEES.md).
pub(super) fn duplicates(inserted: mongodb::error::Result<()>) -> Result<Vec<usize>> {
    let Err(error) = inserted else {
        return Ok(Vec::new());
    };
    match &*error.kind {
        ErrorKind::InsertMany(insert) => match only_duplicates(insert) {
            Some(indices) => Ok(indices),
            None => Err(classify(error)),
        },
        _ => Err(classify(error)),
    }
}

fn only_duplicates(error: &InsertManyError) -> Option<Vec<usize>> {
    let errors = error.write_errors.as_deref().unwrap_or_default();
    let clean = error.write_concern_error.is_none()
        && !errors.is_empty()
        && errors.iter().all(|error| error.code == DUPLICATE_KEY);
    clean.then(|| errors.iter().map(|error| error.index).collect())
}

/// Checks the reply of a write command that was sent as it is: the driver takes it for a
/// success although single statements or the write concern failed.
///
/// # Errors
/// The first statement's error, or the write concern's.
pub(super) fn check_reply(reply: &Document) -> Result<()> {
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Err(unavailable(error.to_string()));
    }
    let errors = reply.get_array("writeErrors").map(Vec::as_slice);
    let Some(first) = errors.ok().and_then(|errors| errors.first()) else {
        return Ok(());
    };
    let code = first
        .as_document()
        .and_then(|error| error.get_i32("code").ok());
    match code {
        Some(code) if is_state_or_race(code) => Err(unavailable(first.to_string())),
        _ => Err(failed(first.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{deserialize_from_document, doc};

    use super::*;

    fn insert_error(document: Document) -> mongodb::error::Result<()> {
        let error: InsertManyError = deserialize_from_document(document).unwrap();
        Err(ErrorKind::InsertMany(error).into())
    }

    fn write_error(index: i32, code: i32) -> Document {
        doc! { "index": index, "code": code, "errmsg": "refused" }
    }

    #[test]
    fn duplicates_alone_are_no_failure() {
        let errors = [write_error(3, DUPLICATE_KEY), write_error(7, DUPLICATE_KEY)];
        let error = insert_error(doc! { "writeErrors": errors.to_vec() });
        assert_eq!(duplicates(error).unwrap(), [3, 7]);
    }

    #[test]
    fn duplicates_with_a_write_concern_error_are_not_durable() {
        let concern = doc! { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": "slow" };
        let errors = vec![write_error(0, DUPLICATE_KEY)];
        let error = doc! { "writeErrors": errors, "writeConcernError": concern };
        let error = duplicates(insert_error(error)).unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    }

    #[test]
    fn a_refused_document_fails_the_insert_for_good() {
        let errors = vec![write_error(0, DUPLICATE_KEY), write_error(1, 10334)];
        let error = duplicates(insert_error(doc! { "writeErrors": errors })).unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
    }

    #[test]
    fn a_network_error_leaves_the_outcome_unknown() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(classify(broken.into()).is_transient());
    }

    #[test]
    fn a_reply_is_checked_for_what_the_driver_overlooks() {
        let ok = doc! { "ok": 1, "n": 2 };
        assert!(check_reply(&ok).is_ok());
        let concern = doc! { "ok": 1, "writeConcernError": { "code": 64 } };
        assert!(check_reply(&concern).unwrap_err().is_transient());
        let interrupted = doc! { "ok": 1, "writeErrors": [write_error(0, 11602)] };
        assert!(check_reply(&interrupted).unwrap_err().is_transient());
        let raced = doc! { "ok": 1, "writeErrors": [write_error(0, DUPLICATE_KEY)] };
        assert!(check_reply(&raced).unwrap_err().is_transient());
        let refused = doc! { "ok": 1, "writeErrors": [write_error(0, 9)] };
        assert!(!check_reply(&refused).unwrap_err().is_transient());
    }
}
