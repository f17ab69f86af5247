//! Why a request failed: an [`ErrorCode`] with what the caller may know, free of HTTP.

use std::fmt;

use crate::model::position::Position;
use crate::protocol::code::ErrorCode;
use crate::protocol::json::Invalid;
use crate::store::StoreError;

/// A field that is wrong, by its path, as in `body.text`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The path of the field.
    pub field: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

/// A failed request.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What is wrong, for whoever wrote the client; never an internal cause.
    pub detail: String,
    /// The fields that are wrong.
    pub fields: Vec<FieldError>,
    /// When a retry may help, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// For a reference to a dead position: the last valid one.
    pub valid_up_to: Option<Position>,
    /// The cause, for the log of the server only.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with `code` and a sentence for the developer of the client.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after_ms: None,
            valid_up_to: None,
            source: None,
        }
    }

    /// A request with one wrong field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let (field, detail) = (field.into(), detail.into());
        let mut error = Self::new(ErrorCode::BadRequest, format!("{field}: {detail}"));
        error.fields.push(FieldError { field, detail });
        error
    }

    /// A thing that does not exist or that one may not know of.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("no such {what}"))
    }

    /// The log or a store cannot take it now.
    pub fn busy(detail: impl Into<String>, retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(ErrorCode::Busy, detail)
        }
    }

    /// A fault of ours, with its cause for the server's log.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = Self::new(
            ErrorCode::Internal,
            "the server met an unexpected condition",
        );
        Self {
            source: Some(source.into()),
            ..error
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } => {
                let busy = Self::busy("a store does not answer; try again", 1000);
                Self {
                    source: Some(error.into()),
                    ..busy
                }
            }
            StoreError::Corrupt { .. } | StoreError::Failed { .. } => Self::internal(error),
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        match invalid.field.is_empty() {
            true => Self::new(ErrorCode::BadRequest, invalid.detail),
            false => Self::field(invalid.field, invalid.detail),
        }
    }
}
