//! Why a request failed: an [`ErrorCode`] with what the caller may know, free of HTTP.

use std::fmt;

use crate::model::position::Position;
use crate::protocol::code::ErrorCode;
use crate::protocol::json::Invalid;
use crate::store::StoreError;

/// A field that is wrong, by its path, as in `body.text`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct FieldError {
    /// The path of the field.
    pub field: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

macro_rules! busy {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why something is put off; for operators, clients are only told to come back.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Busy { $($(#[$doc])* $variant,)+ }

        impl Busy {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

busy! {
    /// A store did not answer.
    Store = "store",
    /// The log takes nothing until its consumers have caught up.
    LogFull = "log_full",
    /// The log did not answer in time, or is being opened.
    Log = "log",
    /// Others changed the same thing again and again.
    Race = "race",
    /// Too many arrive of whom Redis knows nothing.
    Arrivals = "arrivals",
    /// Too many passwords wait to be hashed.
    Passwords = "passwords",
    /// It cannot be seen whose session goes on.
    Sessions = "sessions",
}

/// What may be asked how often: so many in a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The name, which is the key of `[limits]`.
    pub name: &'static str,
    /// How much may be asked in the window.
    pub quota: u32,
    /// The window, in seconds.
    pub window_s: u64,
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
    /// For `busy`: why.
    pub busy: Option<Busy>,
    /// For a reference to a dead position: the last valid one.
    pub valid_up_to: Option<Position>,
    /// For too many requests: what was exceeded.
    pub exceeded: Option<Box<Policy>>,
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
            busy: None,
            valid_up_to: None,
            exceeded: None,
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

    /// A reference to a position that no longer counts, and the last one that the caller may go on from.
    pub fn dead(detail: impl Into<String>, valid_up_to: Position) -> Self {
        Self {
            valid_up_to: Some(valid_up_to),
            ..Self::new(ErrorCode::Conflict, detail)
        }
    }

    /// It cannot be done now.
    pub fn busy(reason: Busy, detail: impl Into<String>, retry_after_ms: u64) -> Self {
        Self {
            busy: Some(reason),
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
                let busy = Self::busy(Busy::Store, "a store does not answer; try again", 1000);
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
