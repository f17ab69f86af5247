//! The directory in production: the tables of `store::relational` in PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Postgres, Row as _, TypeInfo as _, ValueRef as _};

use super::database::{Database, STORE, answer};
use crate::store::relational::directory::SqlDirectory;
use crate::store::relational::engine::{self, Engine, Transaction};
use crate::store::relational::value::{Cell, Row, Value};
use crate::store::{Result, StoreError};

/// The directory in PostgreSQL.
pub type PgDirectory = SqlDirectory<Database>;

impl PgDirectory {
    /// The directory of the database at `url`.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self::new(Database::connect(url).await?))
    }
}

#[async_trait]
impl Engine for Database {
    async fn read(&self, sql: &'static str, args: &[Value<'_>]) -> Result<Vec<Row>> {
        let rows = answer(query(sql, args).fetch_all(self.pool())).await?;
        read_rows(&rows)
    }

    async fn begin(&self) -> engine::Result<Box<dyn Transaction>> {
        Ok(Box::new(answer(self.pool().begin()).await?))
    }
}

#[async_trait]
impl Transaction for sqlx::Transaction<'static, Postgres> {
    async fn rows(&mut self, sql: &'static str, args: &[Value<'_>]) -> engine::Result<Vec<Row>> {
        let rows = answer(query(sql, args).fetch_all(&mut **self)).await?;
        Ok(read_rows(&rows)?)
    }

    async fn execute(&mut self, sql: &'static str, args: &[Value<'_>]) -> engine::Result<u64> {
        let done = answer(query(sql, args).execute(&mut **self)).await?;
        Ok(done.rows_affected())
    }

    async fn commit(self: Box<Self>) -> engine::Result<()> {
        answer((*self).commit()).await
    }
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

fn query<'q>(sql: &'static str, args: &[Value<'_>]) -> Query<'q> {
    args.iter().fold(sqlx::query(sql), |query, arg| match *arg {
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Text(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
    })
}

fn read_rows(rows: &[PgRow]) -> Result<Vec<Row>> {
    let read = |row: &PgRow| {
        let cells: sqlx::Result<_> = (0..row.len()).map(|column| cell(row, column)).collect();
        Ok(Row::new(STORE, cells?))
    };
    rows.iter()
        .map(read)
        .collect::<sqlx::Result<_>>()
        .map_err(|error| unreadable(&error))
}

fn cell(row: &PgRow, column: usize) -> sqlx::Result<Cell> {
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    match raw.type_info().name() {
        "INT2" => row.try_get(column).map(|int: i16| Cell::Int(int.into())),
        "INT4" => row.try_get(column).map(|int: i32| Cell::Int(int.into())),
        "INT8" => row.try_get(column).map(Cell::Int),
        "TEXT" => row.try_get(column).map(Cell::Text),
        _ => row.try_get(column).map(Cell::Bytes),
    }
}

fn unreadable(error: &sqlx::Error) -> StoreError {
    StoreError::corrupt(STORE, error.to_string())
}
