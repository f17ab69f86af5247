//! What the tables need of an engine: to run a statement, and to run several as one transaction.
//!
//! To add an engine: implement the two traits beside its pool, and write its migrations.

use async_trait::async_trait;

use super::value::{Row, Value};
use crate::store::{Cause, StoreError};

/// Why a statement or a commit came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The engine undid the transaction to let another one pass: a deadlock, a serialisation
    /// failure. The same work may succeed at once.
    #[error("{store} let another transaction pass")]
    LostRace {
        /// Which store.
        store: &'static str,
        /// The driver's error.
        #[source]
        source: Cause,
    },
    /// Anything else.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::LostRace { store, source } => Self::Unavailable { store, source },
            Fault::Store(error) => error,
        }
    }
}

/// The result of work inside a transaction.
pub type Result<T> = std::result::Result<T, Fault>;

/// A pool of connections to tables.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Runs one reading statement, which sees every commit that returned before it began.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn read(
        &self,
        sql: &'static str,
        args: &[Value<'_>],
    ) -> std::result::Result<Vec<Row>, StoreError>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// `Unavailable`: nothing happened.
    async fn begin(&self) -> Result<Box<dyn Transaction>>;
}

/// Work to be done as one transaction. It may be run more than once, each time from the start.
#[async_trait]
pub trait Work: Sync {
    /// What comes of it.
    type Done: Send;

    /// Does it.
    ///
    /// # Errors
    /// Any: nothing of it will last.
    async fn run(&self, tx: &mut dyn Transaction) -> Result<Self::Done>;
}

/// A transaction, in which each statement sees what was committed before that statement began.
/// Dropped without a commit it changes nothing.
#[async_trait]
pub trait Transaction: Send {
    /// Runs one statement for the rows it answers.
    ///
    /// # Errors
    /// Any: the transaction is then of no further use.
    async fn rows(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<Vec<Row>>;

    /// Runs one statement for the number of rows it touched.
    ///
    /// # Errors
    /// As [`Transaction::rows`].
    async fn execute(&mut self, sql: &'static str, args: &[Value<'_>]) -> Result<u64>;

    /// Makes all of it last.
    ///
    /// # Errors
    /// `LostRace`: nothing happened. `Unavailable`: the outcome is unknown.
    async fn commit(self: Box<Self>) -> Result<()>;
}
