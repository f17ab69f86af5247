//! Databases of tests on a real PostgreSQL: each test makes one and drops it.

use qunliu::store::postgres::directory::PgDirectory;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::place::Place;
use super::service;
use super::tables::{Fresh, Tables, hex};

/// A database of its own for one test, dropped with this.
pub(crate) struct Scratch {
    server: PgConnectOptions,
    name: String,
    url: String,
}

impl Scratch {
    /// Makes it on the server at `server`, an address with a database to begin from.
    pub(crate) async fn make(server: &str) -> Self {
        let name = format!("qunliu_{}", uuid::Uuid::new_v4().simple());
        let (root, _) = server.rsplit_once('/').unwrap();
        let scratch = Self {
            server: server.parse().unwrap(),
            url: format!("{root}/{name}"),
            name,
        };
        execute(
            &scratch.server,
            &format!("CREATE DATABASE {}", scratch.name),
        )
        .await;
        scratch
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Scratch {
    /// On a thread and a runtime of its own: the test's may be unwinding.
    fn drop(&mut self) {
        let server = self.server.clone();
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(execute(&server, &sql));
        });
        dropping.join().unwrap();
    }
}

/// Tables of a server's database that nobody can read until they are released.
pub(crate) struct Locked {
    connection: PgConnection,
}

impl Locked {
    pub(crate) async fn tables(place: &Place, names: &[&str]) -> Self {
        let url: PgConnectOptions = place.key("QUNLIU_STORES_POSTGRES").parse().unwrap();
        let mut connection = url.connect().await.unwrap();
        let lock = format!("BEGIN; LOCK TABLE {}", names.join(", "));
        let lock = sqlx::raw_sql(AssertSqlSafe(lock));
        lock.execute(&mut connection).await.unwrap();
        Self { connection }
    }

    pub(crate) async fn release(self) {
        self.connection.close().await.unwrap();
    }
}

/// A fresh directory in a database of its own.
pub(crate) async fn open_directory() -> Option<Fresh> {
    let server = service("QUNLIU_TEST_POSTGRES")?;
    let scratch = Scratch::make(&server).await;
    let directory = PgDirectory::connect(scratch.url()).await.unwrap();
    let other = PgDirectory::connect(scratch.url()).await.unwrap();
    Some(Fresh::new(
        Box::new(directory),
        Box::new(other),
        Box::new(scratch),
    ))
}

#[async_trait::async_trait]
impl Tables for Scratch {
    async fn execute(&self, sql: &str) {
        execute(&self.url.parse().unwrap(), sql).await;
    }

    fn literal(&self, bytes: &[u8]) -> String {
        format!("'\\x{}'::bytea", hex(bytes))
    }
}

async fn execute(database: &PgConnectOptions, sql: &str) {
    let mut connection = database.connect().await.unwrap();
    let statement = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    statement.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
