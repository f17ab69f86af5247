//! What a node asks of its stores, counted by the stores themselves or by the drivers' own log:
//! never by time.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::eventually;
use super::place::Place;

/// The settings of a node whose statements can be counted.
pub(crate) const SETTINGS: [(&str, &str); 2] = [
    ("QUNLIU_LOG_LEVEL", "warn,sqlx::query=debug"),
    ("QUNLIU_LOG_FORMAT", "json"),
];

/// What was asked of the stores. Of those that are not there nothing was.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Work {
    /// Statements of SQL, and rows that they answered.
    pub(crate) statements: u64,
    pub(crate) rows: u64,
    /// Rows and entries of indexes that PostgreSQL read for them.
    pub(crate) rows_read: u64,
    /// Commands of Redis, those inside functions too.
    pub(crate) commands: u64,
    /// Operations of MongoDB, and documents and entries of indexes that it read for them.
    pub(crate) operations: u64,
    pub(crate) documents_read: u64,
}

impl Work {
    /// Of each count the lower one.
    pub(crate) fn least(self, other: Self) -> Self {
        Self {
            statements: self.statements.min(other.statements),
            rows: self.rows.min(other.rows),
            rows_read: self.rows_read.min(other.rows_read),
            commands: self.commands.min(other.commands),
            operations: self.operations.min(other.operations),
            documents_read: self.documents_read.min(other.documents_read),
        }
    }

    /// Each count under its name.
    pub(crate) const fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("statements", self.statements),
            ("rows", self.rows),
            ("rows read", self.rows_read),
            ("commands", self.commands),
            ("operations", self.operations),
            ("documents read", self.documents_read),
        ]
    }
}

/// Counts the work of one node.
pub(crate) struct Meter {
    log: PathBuf,
    services: Option<Services>,
    /// The texts of all statements that were counted.
    pub(crate) statements: BTreeSet<String>,
    /// The operations of MongoDB that were counted: the kind, the collection and the filter.
    pub(crate) operations: BTreeSet<String>,
}

struct Services {
    redis: MultiplexedConnection,
    mongodb: mongodb::Database,
    postgres: PgConnection,
}

impl Meter {
    /// Of a node on this place that writes this log.
    pub(crate) async fn new(place: &Place, log: PathBuf) -> Self {
        let services = match place.is_embedded() {
            true => None,
            false => Some(Services::of(place).await),
        };
        Self {
            log,
            services,
            statements: BTreeSet::new(),
            operations: BTreeSet::new(),
        }
    }

    /// The work that is done while `doing` runs.
    pub(crate) async fn of(&mut self, doing: impl Future<Output = ()>) -> Work {
        let mut before = (0, 0);
        if let Some(services) = &mut self.services {
            before = services.begin().await;
        }
        let from = std::fs::metadata(&self.log).unwrap().len();
        doing.await;
        let mut work = self.logged(from);
        if let Some(services) = &mut self.services {
            self.operations
                .extend(services.end(before, &mut work).await);
        }
        work
    }

    fn logged(&mut self, from: u64) -> Work {
        let mut file = std::fs::File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let mut work = Work::default();
        for line in text.lines().filter(|line| line.contains("sqlx::query")) {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let fields = &line["fields"];
            work.statements += 1;
            work.rows += fields["rows_returned"].as_u64().unwrap();
            let whole = fields["db.statement"].as_str().unwrap().trim();
            let summary = fields["summary"].as_str().unwrap();
            let whole = if whole.is_empty() { summary } else { whole };
            self.statements.insert(whole.to_owned());
        }
        work
    }
}

impl Services {
    async fn of(place: &Place) -> Self {
        let redis = place.key("QUNLIU_STORES_REDIS");
        let (_, address) = redis.rsplit_once('@').unwrap();
        let redis = redis::Client::open(format!("redis://{address}")).unwrap();
        let mongodb = mongodb::Client::with_uri_str(place.key("QUNLIU_STORES_MONGODB"));
        let postgres: PgConnectOptions = place.key("QUNLIU_STORES_POSTGRES").parse().unwrap();
        Self {
            redis: redis.get_multiplexed_async_connection().await.unwrap(),
            mongodb: mongodb.await.unwrap().default_database().unwrap(),
            postgres: postgres.connect().await.unwrap(),
        }
    }

    /// Commands of Redis and rows of PostgreSQL until now; MongoDB begins to count.
    async fn begin(&mut self) -> (u64, u64) {
        self.profile(0).await;
        let kept = self.mongodb.collection::<Document>("system.profile");
        kept.drop().await.unwrap();
        let rows = self.rows_read().await;
        self.profile(2).await;
        (self.commands().await, rows)
    }

    /// Adds what was done to the work; answers the operations of MongoDB.
    async fn end(&mut self, (commands, rows): (u64, u64), work: &mut Work) -> Vec<String> {
        self.profile(0).await;
        work.commands = self.commands().await - commands;
        work.rows_read = self.rows_read().await - rows;
        let kept = self.mongodb.collection::<Document>("system.profile");
        let found = kept.find(doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        let number = |document: &Document, name: &str| match document.get(name) {
            Some(Bson::Int32(number)) => u64::try_from(*number).unwrap(),
            Some(Bson::Int64(number)) => u64::try_from(*number).unwrap(),
            _ => 0,
        };
        work.operations = found.len() as u64;
        for document in &found {
            work.documents_read += number(document, "docsExamined");
            work.documents_read += number(document, "keysExamined");
        }
        found.iter().map(text_of).collect()
    }

    async fn profile(&self, level: i32) {
        let set = doc! { "profile": level };
        self.mongodb.run_command(set).await.unwrap();
    }

    async fn commands(&mut self) -> u64 {
        let mut info = redis::cmd("INFO");
        let text: String = info
            .arg("commandstats")
            .query_async(&mut self.redis)
            .await
            .unwrap();
        let lines = text.lines().filter(|line| !line.contains("cmdstat_info"));
        let calls = lines.filter_map(|line| line.split_once(":calls=")?.1.split(',').next());
        calls.map(|calls| calls.parse::<u64>().unwrap()).sum()
    }

    /// A connection tells what it read when it ends at the latest: all are ended first, and the
    /// node makes new ones.
    async fn rows_read(&mut self) -> u64 {
        let end = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let ended = sqlx::query(end)
            .fetch_all(&mut self.postgres)
            .await
            .unwrap();
        let ended: Vec<i32> = ended.iter().map(|row| row.get(0)).collect();
        let connection = tokio::sync::Mutex::new(&mut self.postgres);
        eventually(Duration::from_secs(10), async || {
            let left = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = ANY($1)";
            let left = sqlx::query_scalar::<_, i64>(left).bind(&ended);
            left.fetch_one(&mut **connection.lock().await)
                .await
                .unwrap()
                == 0
        })
        .await;
        let read = "SELECT ((SELECT COALESCE(SUM(idx_tup_read), 0) FROM pg_stat_user_indexes)
             + (SELECT COALESCE(SUM(seq_tup_read), 0) FROM pg_stat_user_tables))::BIGINT";
        let read = sqlx::query_scalar::<_, i64>(read);
        let read = read.fetch_one(&mut self.postgres).await.unwrap();
        u64::try_from(read).unwrap()
    }
}

/// An operation in the profile, in short.
fn text_of(document: &Document) -> String {
    let named = |name| document.get_str(name).unwrap();
    let (_, collection) = named("ns").split_once('.').unwrap();
    let command = document.get_document("command");
    let filter = command.and_then(|command| command.get_document("filter"));
    let filter = filter.map_or_else(|_| String::new(), ToString::to_string);
    format!("{} {collection} {filter}", named("op"))
}

/// How SQLite would find what each of these statements asks for.
pub(crate) async fn plans(
    file: &Path,
    statements: impl IntoIterator<Item = &String>,
) -> Vec<(String, String)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.unwrap();
    let mut plans = Vec::new();
    for statement in statements {
        let first = statement.split_whitespace().next().unwrap();
        if !["SELECT", "WITH", "UPDATE", "DELETE", "INSERT"].contains(&first) {
            continue;
        }
        let explain = format!("EXPLAIN QUERY PLAN {statement}");
        let steps = sqlx::query(AssertSqlSafe(explain));
        for step in steps.fetch_all(&mut connection).await.unwrap() {
            plans.push((step.get("detail"), statement.clone()));
        }
    }
    plans
}
