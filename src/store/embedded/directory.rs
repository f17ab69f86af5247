//! The directory in the embedded backend: the tables of `store::relational` in the one file.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use super::database::{Database, STORE, store_error};
use crate::store::relational::directory::SqlDirectory;
use crate::store::relational::engine::{self, Engine, Transaction};
use crate::store::relational::value::{Cell, Row, Value};
use crate::store::{Result, StoreError};

/// The directory in one SQLite file.
pub type SqliteDirectory = SqlDirectory<Database>;

#[async_trait]
impl Engine for Database {
    async fn read(&self, sql: &'static str, args: &[Value<'_>]) -> Result<Vec<Row>> {
        let rows = query(sql, args).fetch_all(self.reader()).await;
        read_rows(&rows.map_err(store_error)?)
    }

    async fn begin(&self) -> engine::Result<Box<dyn Transaction>> {
        Ok(Box::new(Self::begin(self).await?))
    }
}

/// There is one writing transaction at a time, so none can lose a race.
#[async_trait]
impl Transaction for sqlx::Transaction<'static, Sqlite> {
    async fn rows(&mut self, sql: &'static str, args: &[Value<'_>]) -> engine::Result<Vec<Row>> {
        let rows = query(sql, args).fetch_all(&mut **self).await;
        Ok(read_rows(&rows.map_err(store_error)?)?)
    }

    async fn execute(&mut self, sql: &'static str, args: &[Value<'_>]) -> engine::Result<u64> {
        let done = query(sql, args).execute(&mut **self).await;
        Ok(done.map_err(store_error)?.rows_affected())
    }

    async fn commit(self: Box<Self>) -> engine::Result<()> {
        Ok((*self).commit().await.map_err(store_error)?)
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn query<'q>(sql: &'static str, args: &[Value<'_>]) -> Query<'q> {
    args.iter().fold(sqlx::query(sql), |query, arg| match *arg {
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Text(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
    })
}

fn read_rows(rows: &[SqliteRow]) -> Result<Vec<Row>> {
    let read = |row: &SqliteRow| {
        let cells: sqlx::Result<_> = (0..row.len()).map(|column| cell(row, column)).collect();
        Ok(Row::new(STORE, cells?))
    };
    rows.iter()
        .map(read)
        .collect::<sqlx::Result<_>>()
        .map_err(|error| unreadable(&error))
}

fn cell(row: &SqliteRow, column: usize) -> sqlx::Result<Cell> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    match raw.type_info().name() {
        "INTEGER" => row.try_get(column).map(Cell::Int),
        "TEXT" => row.try_get(column).map(Cell::Text),
        _ => row.try_get(column).map(Cell::Bytes),
    }
}

fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::corrupt(STORE, error.to_string())
}
