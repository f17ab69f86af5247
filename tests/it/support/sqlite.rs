//! SQLite files of tests.

use qunliu::store::embedded::database::Database;
use qunliu::store::embedded::directory::SqliteDirectory;
use sqlx::AssertSqlSafe;

use super::folder::Folder;
use super::tables::{Fresh, Tables, hex};

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
