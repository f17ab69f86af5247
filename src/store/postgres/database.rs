//! The connections to PostgreSQL: opens them with a bound on every wait, brings the schema up to
//! date, and says what the server's errors mean. No SQL of a table is here.
//!
//! All calls that decide anything go to the primary: a replica would answer with rights that were
//! taken away. What may go to one is in [`super::replicas`].

use std::future::Future;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

use crate::store::relational::engine::Fault;
use crate::store::{Cause, Result, StoreError};

/// The store's name in errors.
pub const STORE: &str = "postgresql";

/// Connections of one node. A server takes 100 by default, and every node needs its share.
const CONNECTIONS: u32 = 16;

/// How long a call waits for a free connection, or for a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a call waits for one answer. Above `statement_timeout`, so that a server that lives
/// says itself what was too slow; this bound is for one that is frozen or cut off.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a node that starts waits for another node that migrates, and for its own migrations.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(60);

/// What every connection asks of the server, in milliseconds where it is a time. A node that was
/// cut off holds its locks no longer than `idle_in_transaction_session_timeout`. The isolation is
/// named because decisions rely on it: a statement after the lock sees what the lock waited for.
const SESSION: [(&str, &str); 3] = [
    ("statement_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("default_transaction_isolation", "read committed"),
];

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Whether this is an address as config.toml describes it.
pub fn is_address(text: &str) -> bool {
    let is_ours = text.starts_with("postgres://") || text.starts_with("postgresql://");
    is_ours && text.parse::<PgConnectOptions>().is_ok()
}

/// The open connections. Cheap to clone; all clones are one set of connections.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
}

impl Database {
    /// Connects to the primary at `url` (`postgres://user:password@host/database`), and brings
    /// the schema up to date: one node at a time, under a lock on the server.
    ///
    /// # Errors
    /// `Unavailable` when the server does not answer; `Failed` when the address is none or the
    /// schema is of a newer program.
    pub async fn connect(url: &str) -> Result<Self> {
        let options: PgConnectOptions = url.parse().map_err(store_error)?;
        let options = options.application_name("qunliu");
        let migrated = tokio::time::timeout(MIGRATE_TIMEOUT, migrate(&options)).await;
        migrated.map_err(unavailable)??;
        let pool = pool().connect_with(options.options(SESSION)).await;
        Ok(Self {
            pool: pool.map_err(store_error)?,
        })
    }

    /// The replica at `url`, to which nothing is connected yet, and which is never written to.
    ///
    /// # Errors
    /// `Failed` when the address is none.
    pub fn of_replica(url: &str) -> Result<Self> {
        let options: PgConnectOptions = url.parse().map_err(store_error)?;
        let options = options.application_name("qunliu").options(SESSION);
        Ok(Self {
            pool: pool().connect_lazy_with(options),
        })
    }

    /// The connections.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes every connection, once what it does has ended.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// On a connection of its own, which may wait longer than a call.
async fn migrate(options: &PgConnectOptions) -> Result<()> {
    let mut connection = answer(sqlx::PgConnection::connect_with(options)).await?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(migrate_error)?;
    connection.close().await.map_err(store_error)
}

/// A connection that was given back in the middle of something is tried under a bound first: a
/// server that is cut off would keep it, and its place in the pool, for many minutes.
fn pool() -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_release(|connection, _| {
            Box::pin(async move {
                let answer = tokio::time::timeout(ACQUIRE_TIMEOUT, connection.ping()).await;
                Ok(matches!(answer, Ok(Ok(()))))
            })
        })
}

/// The answer of the server, or why there is none.
pub(super) async fn answer<T>(
    call: impl Future<Output = sqlx::Result<T>>,
) -> std::result::Result<T, Fault> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(fault),
        Err(elapsed) => Err(unavailable(elapsed).into()),
    }
}

/// SQLSTATE class 40: the server rolled back so that another transaction may pass.
fn fault(error: sqlx::Error) -> Fault {
    if sqlstate(&error).starts_with("40") {
        return Fault::LostRace {
            store: STORE,
            source: error.into(),
        };
    }
    store_error(error).into()
}

pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => unavailable(error),
        sqlx::Error::Database(_) if is_passing(&sqlstate(&error)) => unavailable(error),
        _ => failed(error),
    }
}

/// Whether the server may take the same call later (PostgreSQL, "Error Codes"): lost or refused
/// connections, too few resources, too slow, shutting down or starting, a demoted primary, an
/// I/O error.
fn is_passing(sqlstate: &str) -> bool {
    const CLASSES: [&str; 4] = ["08", "40", "53", "58"];
    const CODES: [&str; 7] = [
        "25006", "25P03", "55P03", "57014", "57P01", "57P02", "57P03",
    ];
    CODES.contains(&sqlstate) || CLASSES.iter().any(|class| sqlstate.starts_with(class))
}

fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.unwrap_or_default().into_owned()
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => failed(other),
    }
}

fn unavailable(source: impl Into<Cause>) -> StoreError {
    StoreError::unavailable(STORE, source)
}

fn failed(source: impl Into<Cause>) -> StoreError {
    StoreError::failed(STORE, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_unavailable() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let connected = Database::connect(&format!("postgres://q@127.0.0.1:{port}/q")).await;
        assert!(connected.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unavailable() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let connected = Database::connect(&format!("postgres://q@127.0.0.1:{port}/q")).await;
        assert!(connected.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_for_good() {
        let connected = Database::connect("postgres://host:port/").await;
        assert!(!connected.unwrap_err().is_transient());
    }

    #[test]
    fn only_what_may_pass_is_passing() {
        for sqlstate in ["08006", "40P01", "53300", "57014", "57P01", "25006"] {
            assert!(is_passing(sqlstate), "{sqlstate}");
        }
        for sqlstate in ["", "23505", "42P01", "28P01", "57P04"] {
            assert!(!is_passing(sqlstate), "{sqlstate}");
        }
    }
}
