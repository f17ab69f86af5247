//! Where a server keeps what it keeps: embedded stores, or the real services. A story is told on
//! each, unchanged; see [`flow!`].

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use qunliu::model::id::{MerchantId, UserId};
use qunliu::model::role::StaffRole;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::folder::Folder;
use super::mongo;
use super::postgres::Scratch;
use super::redis::{ASSURED, RedisServer};
use super::sample::AT;
use super::server::{Person, TestServer};
use super::service;
use super::tables::hex;

/// Fresh stores of one test, gone when this is dropped.
#[derive(Clone)]
pub(crate) struct Place {
    keys: Vec<(&'static str, String)>,
    _keep: Arc<dyn Any + Send + Sync>,
}

impl Place {
    /// Embedded stores, in the folder of the one server that serves them.
    #[expect(clippy::unused_async, reason = "opened like the places that must wait")]
    pub(crate) async fn embedded() -> Option<Self> {
        Some(Self {
            keys: Vec::new(),
            _keep: Arc::new(()),
        })
    }

    /// A Redis, a database in MongoDB and one in PostgreSQL, if they are there. Any number of
    /// servers may serve them.
    pub(crate) async fn services() -> Option<Self> {
        let postgres = service("QUNLIU_TEST_POSTGRES")?;
        let mongodb = mongo::Place::new()?;
        let redis = RedisServer::start().await?;
        let postgres = Scratch::make(&postgres).await;
        let folder = Folder::new();
        let secret = folder.file().with_file_name("secret.key");
        let keys = vec![
            ("QUNLIU_STORES_REDIS", redis.url()),
            (ASSURED.0, ASSURED.1.to_owned()),
            ("QUNLIU_STORES_MONGODB", mongodb.url()),
            ("QUNLIU_STORES_POSTGRES", postgres.url().to_owned()),
            (
                "QUNLIU_AUTH_SECRET_FILE",
                secret.to_str().unwrap().to_owned(),
            ),
        ];
        Some(Self {
            keys,
            _keep: Arc::new((redis, mongodb, postgres, folder)),
        })
    }

    /// Whether what is kept here is kept by the server itself.
    pub(crate) fn is_embedded(&self) -> bool {
        self.keys.is_empty()
    }

    /// The value of a key that a server on this place is given.
    pub(crate) fn key(&self, name: &str) -> &str {
        let found = self.keys.iter().find(|(key, _)| *key == name);
        &found.unwrap().1
    }

    /// A server on these stores, with further keys set as the environment sets them.
    pub(crate) async fn serve(&self, keys: &[(&str, &str)]) -> TestServer {
        let own = self
            .keys
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let all: Vec<_> = own.chain(keys.iter().copied()).collect();
        TestServer::start_with(&all).await
    }

    /// Runs a statement on the directory of `server` on this place; answers the first column of its rows.
    pub(crate) async fn sql(&self, server: &TestServer, sql: &str) -> Vec<String> {
        if self.is_embedded() {
            let file = SqliteConnectOptions::new().filename(server.data().join("qunliu.sqlite"));
            let mut connection = file.connect().await.unwrap();
            let statement = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
            return statement.fetch_all(&mut connection).await.unwrap();
        }
        let url: PgConnectOptions = self.key("QUNLIU_STORES_POSTGRES").parse().unwrap();
        let mut connection = url.connect().await.unwrap();
        let statement = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        statement.fetch_all(&mut connection).await.unwrap()
    }

    /// Makes a further merchant, which the product cannot do yet, and someone its owner.
    pub(crate) async fn make_merchant(&self, server: &TestServer, owner: &Person) {
        let literal = |bytes: &[u8]| match self.is_embedded() {
            true => format!("x'{}'", hex(bytes)),
            false => format!("'\\x{}'::bytea", hex(bytes)),
        };
        let merchant = literal(MerchantId::generate(AT).as_bytes());
        let owner = literal(owner.id.parse::<UserId>().unwrap().as_bytes());
        let role = StaffRole::Owner.code();
        for (table, values) in [
            (
                "merchants (id, name, created_at)",
                format!("{merchant}, 'x', 0"),
            ),
            (
                "staff (merchant_id, user_id, role)",
                format!("{merchant}, {owner}, {role}"),
            ),
        ] {
            let made = format!("INSERT INTO {table} VALUES ({values})");
            self.sql(server, &made).await;
        }
    }

    /// The environment of a program that is to work on what `server` keeps here.
    pub(crate) fn environment(&self, server: &TestServer) -> Vec<(String, String)> {
        self.environment_of(&server.data())
    }

    /// The same, of a server whose folder this is.
    pub(crate) fn environment_of(&self, data: &Path) -> Vec<(String, String)> {
        let own = self.keys.iter();
        let own = own.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let data = data.display().to_string();
        own.chain([("QUNLIU_SERVER_DATA".to_owned(), data)])
            .collect()
    }

    /// Another server on what this one kept; it was stopped before.
    pub(crate) async fn restarted(&self, stopped: TestServer) -> TestServer {
        match self.keys.is_empty() {
            true => stopped.started_again().await,
            false => self.serve(&[]).await,
        }
    }
}

/// Tells a story on a place, if it is there. The place goes after everything that ran on it.
pub(crate) fn tell(open: impl AsyncFnOnce() -> Option<Place>, story: impl AsyncFnOnce(Place)) {
    let place;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    place = runtime.block_on(open());
    if let Some(place) = &place {
        runtime.block_on(story(place.clone()));
    }
    drop(runtime);
}

/// Makes a test of each story, on embedded stores and on the services: `flow!(one, another);`.
/// What is not about the stores is told once, and what needs several servers on the services alone:
/// `flow!(both: [one], embedded: [another], services: [third]);`.
macro_rules! flow {
    ($($story:ident),+ $(,)?) => {
        flow!(both: [$($story),+], embedded: [], services: []);
    };
    (
        both: [$($both:ident),* $(,)?],
        embedded: [$($embedded:ident),* $(,)?],
        services: [$($services:ident),* $(,)?] $(,)?
    ) => {
        flow!(@place embedded, $($both,)* $($embedded,)*);
        flow!(@place services, $($both,)* $($services,)*);
    };
    (@place $place:ident, $($story:ident,)*) => {
        mod $place {
            $(
                #[test]
                fn $story() {
                    use crate::support::place::{Place, tell};
                    tell(Place::$place, super::$story);
                }
            )*
        }
    };
}
