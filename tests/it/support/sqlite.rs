//! SQLite files of tests.

use std::path::{Path, PathBuf};

use qunliu::store::embedded::database::Database;
use qunliu::store::embedded::directory::SqliteDirectory;
use sqlx::AssertSqlSafe;

use super::tables::{Fresh, Tables, hex};

/// A folder of its own for one test, removed when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let name = format!("sqlite-{}", uuid::Uuid::new_v4().simple());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The database file in it.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("qunliu.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A fresh directory in a file.
pub(crate) async fn open_directory() -> Option<Fresh> {
    let folder = Folder::new();
    let database = Database::open(&folder.file()).await.unwrap();
    let other = Database::open(&folder.file()).await.unwrap();
    let tables = File {
        database: database.clone(),
        _folder: folder,
    };
    Some(Fresh::new(
        Box::new(SqliteDirectory::new(database)),
        Box::new(SqliteDirectory::new(other)),
        Box::new(tables),
    ))
}

struct File {
    database: Database,
    _folder: Folder,
}

#[async_trait::async_trait]
impl Tables for File {
    async fn execute(&self, sql: &str) {
        let mut tx = self.database.begin().await.unwrap();
        let statement = sqlx::query(AssertSqlSafe(sql.to_owned()));
        statement.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn literal(&self, bytes: &[u8]) -> String {
        format!("x'{}'", hex(bytes))
    }
}
