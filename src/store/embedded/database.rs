//! The one SQLite file: opens it safely, hands out connections and says what its errors mean.
//!
//! Reads go to a few connections side by side, each of which sees every transaction that was
//! committed before the read began. Writes go through [`Database::begin`], one after the other.
//! A commit that returned is on the disk (`synchronous=FULL`): in WAL mode anything less loses
//! acknowledged commits at a power cut. No SQL of a table is here, and nothing but migrations
//! changes the schema.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::fs::OpenOptions;

use crate::store::{Result, StoreError};

/// The store's name in errors.
pub const STORE: &str = "sqlite";

/// Below this version a reset of the WAL can corrupt the file when connections race.
const VERSION_MIN: [u32; 3] = [3, 51, 3];

/// Reading connections; each is a thread of its own.
const READERS: u32 = 4;

/// How long a call waits for a connection, the writing one included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long SQLite itself waits for a lock: only another process, as an operator's, can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The open file. Cheap to clone; all clones are one set of connections.
#[derive(Debug, Clone)]
pub struct Database {
    reader: SqlitePool,
    writer: SqlitePool,
}

impl Database {
    /// Opens the file at `path`, made with mode 0600 if it is not there, and brings its schema
    /// up to date. The folder must exist.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened; `Corrupt` when it is no database;
    /// `Failed` when the library is too old or the schema is of a newer program.
    pub async fn open(path: &Path) -> Result<Self> {
        make_private(path).await.map_err(unavailable)?;
        let options = options(path);
        let writer = pool(1).connect_with(options.clone()).await;
        let writer = writer.map_err(store_error)?;
        let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&writer);
        let version: String = version.await.map_err(store_error)?;
        check_version(&version).map_err(failed)?;
        MIGRATIONS.run(&writer).await.map_err(migrate_error)?;
        let reader = options.pragma("query_only", "ON");
        let reader = pool(READERS).connect_with(reader).await;
        Ok(Self {
            reader: reader.map_err(store_error)?,
            writer,
        })
    }

    /// The connections that read. A statement that writes fails on them.
    pub const fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Begins the one writing transaction, once the one before it has ended. Dropped without a
    /// commit it changes nothing.
    ///
    /// # Errors
    /// `Unavailable` when the writer is not free in time.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(store_error)
    }

    /// Closes every connection, once what it does has ended, and folds the WAL into the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

/// SQLite gives the WAL beside the file the same mode.
async fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).await?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .await
}

fn options(path: &Path) -> SqliteConnectOptions {
    safe_options(path).journal_mode(SqliteJournalMode::Wal)
}

/// All but the mode of the journal, which is a property of the file and not of a connection.
pub(super) fn safe_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Connections stay open: opening one costs more than keeping it, and a file has no server that
/// could tire of it.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Judges the version of the library, or says what is needed.
pub(super) fn check_version(version: &str) -> std::result::Result<(), String> {
    if is_recent(version) {
        return Ok(());
    }
    let [major, minor, patch] = VERSION_MIN;
    Err(format!(
        "SQLite {version} is linked; {major}.{minor}.{patch} or newer is needed"
    ))
}

fn is_recent(version: &str) -> bool {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.is_some_and(|parts| parts.as_slice() >= VERSION_MIN.as_slice())
}

/// What an error of the driver means to the caller. A broken constraint is `Failed`: who
/// expects one states it in SQL (`ON CONFLICT`) or looks before.
pub fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => unavailable(error),
        sqlx::Error::Database(refusal) => match primary_code(refusal.code().as_deref()) {
            BUSY | LOCKED | IOERR | FULL | CANTOPEN => unavailable(error),
            CORRUPT | NOTADB => StoreError::corrupt(STORE, error.to_string()),
            _ => failed(error),
        },
        _ => failed(error),
    }
}

// Primary result codes of SQLite (sqlite.org/rescode.html).
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const NOTADB: u32 = 26;

/// The primary code is the low byte of the extended one, which the driver prints in decimal.
fn primary_code(extended: Option<&str>) -> u32 {
    extended
        .and_then(|code| code.parse::<u32>().ok())
        .unwrap_or(0)
        & 0xff
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        other => failed(other),
    }
}

/// The store did not answer.
pub(super) fn unavailable(source: impl Into<crate::store::Cause>) -> StoreError {
    StoreError::unavailable(STORE, source)
}

fn failed(source: impl Into<crate::store::Cause>) -> StoreError {
    StoreError::failed(STORE, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_recent("3.51.3"));
        assert!(is_recent("3.100.0"));
        assert!(!is_recent("3.51.2"));
        assert!(!is_recent("3.9.9"));
        assert!(!is_recent("unknown"));
    }

    #[test]
    fn extended_codes_are_judged_by_their_low_byte() {
        assert_eq!(primary_code(Some("778")), IOERR, "SQLITE_IOERR_WRITE");
        assert_eq!(primary_code(None), 0);
    }

    /// A folder that is removed when this is dropped.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("qunliu-{}", uuid::Uuid::new_v4().simple());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> std::path::PathBuf {
            self.0.join("qunliu.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn only_its_owner_may_read_the_file_and_the_wal() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        std::fs::write(folder.file(), "").unwrap();
        let database = Database::open(&folder.file()).await.unwrap();
        for file in std::fs::read_dir(&folder.0).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        }
        database.close().await;
    }

    #[tokio::test]
    async fn connections_keep_to_the_promises_of_the_file() {
        let folder = Folder::new();
        let database = Database::open(&folder.file()).await.unwrap();
        let mut writing = database.begin().await.unwrap();
        let settings = "SELECT (SELECT journal_mode FROM pragma_journal_mode),
             (SELECT synchronous FROM pragma_synchronous),
             (SELECT foreign_keys FROM pragma_foreign_keys)";
        let settings: (String, i64, i64) = sqlx::query_as(settings)
            .fetch_one(&mut *writing)
            .await
            .unwrap();
        assert_eq!(settings, ("wal".to_owned(), 2, 1));
    }

    #[tokio::test]
    async fn a_reading_connection_cannot_write() {
        let folder = Folder::new();
        let database = Database::open(&folder.file()).await.unwrap();
        let written = sqlx::query("DELETE FROM users").execute(database.reader());
        let error = store_error(written.await.unwrap_err());
        assert!(!error.is_transient(), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_no_database_is_corrupt() {
        let folder = Folder::new();
        std::fs::write(folder.file(), [b'x'; 8192]).unwrap();
        let opened = Database::open(&folder.file()).await;
        assert!(
            matches!(opened, Err(StoreError::Corrupt { .. })),
            "{opened:?}"
        );
    }

    #[tokio::test]
    async fn a_missing_folder_is_unavailable() {
        let folder = Folder::new();
        let opened = Database::open(&folder.0.join("missing/qunliu.db")).await;
        assert!(opened.unwrap_err().is_transient());
    }

    #[tokio::test]
    async fn what_was_committed_is_there_when_the_file_is_opened_again() {
        let folder = Folder::new();
        let database = Database::open(&folder.file()).await.unwrap();
        let mut writing = database.begin().await.unwrap();
        let sql = "INSERT INTO merchants (id, name, created_at) VALUES (x'00', '面馆', 0)";
        sqlx::query(sql).execute(&mut *writing).await.unwrap();
        writing.commit().await.unwrap();
        database.close().await;
        let database = Database::open(&folder.file()).await.unwrap();
        let names = sqlx::query_scalar("SELECT name FROM merchants");
        let name: String = names.fetch_one(database.reader()).await.unwrap();
        assert_eq!(name, "面馆");
    }
}
