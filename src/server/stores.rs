//! Which backend keeps what: the one place where a backend is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use crate::clock::Clock;
use crate::config::{Backends, Config, Secret};
use crate::lifecycle::Tasks;
use crate::pipeline::replay::Replay;
use crate::store::accounts::Accounts;
use crate::store::cards::Cards;
use crate::store::consumers::ConsumerLog;
use crate::store::dead_letters::DeadLetters;
use crate::store::directory::Directory;
use crate::store::embedded::cards::NoCards;
use crate::store::embedded::database::Database;
use crate::store::embedded::directory::SqliteDirectory;
use crate::store::embedded::examine::examine as examine_embedded;
use crate::store::embedded::stores::EmbeddedStores;
use crate::store::epochs::Epochs;
use crate::store::finding::Finding;
use crate::store::log::Log;
use crate::store::messages::Messages;
use crate::store::mongo::connect::MongoStores;
use crate::store::mongo::examine::examine as examine_mongo;
use crate::store::postgres::database::Database as PgDatabase;
use crate::store::postgres::directory::PgDirectory;
use crate::store::postgres::examine::examine as examine_postgres;
use crate::store::postgres::replicas::Replicas;
use crate::store::presence::Presence;
use crate::store::redis::examine::examine as examine_redis;
use crate::store::redis::stores::RedisStores;
use crate::store::roster::{Direct, Roster};
use crate::store::signals::Signals;
use crate::store::unread::Unread;
use crate::telemetry::Metrics;

/// The embedded stores' file in the data folder.
const DATABASE_FILE: &str = "qunliu.sqlite";

/// The stores of one server, whatever the backend.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) accounts: Arc<dyn Accounts>,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) roster: Arc<dyn Roster>,
    pub(super) log: Arc<dyn Log>,
    pub(super) cards: Arc<dyn Cards>,
    pub(super) consumers: Arc<dyn ConsumerLog>,
    pub(super) epochs: Arc<dyn Epochs>,
    pub(super) messages: Arc<dyn Messages>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) unread: Arc<dyn Unread>,
    pub(super) signals: Arc<dyn Signals>,
    pub(super) presence: Arc<dyn Presence>,
    mongo: Option<MongoStores>,
}

impl Stores {
    /// Takes leave of the stores, when nothing uses them any more.
    pub(super) async fn close(self) {
        if let Some(mongo) = self.mongo {
            mongo.close().await;
        }
    }
}

/// Opens the stores that the configuration names.
pub(super) async fn open(
    config: &Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Stores, StartError> {
    match config.stores.backends().unwrap_or(Backends::Embedded) {
        Backends::Embedded => open_embedded(&config.server.data, tasks).await,
        Backends::Services => open_services(config, metrics, tasks).await,
    }
}

/// Opens only the store of the accounts. The embedded one must be there: no server is made by
/// asking about its accounts.
pub(super) async fn open_accounts(config: &Config) -> Result<Arc<dyn Accounts>, StartError> {
    match config.stores.backends().unwrap_or(Backends::Embedded) {
        Backends::Embedded => {
            let database = Database::open(&file_that_is_there(&config.server.data)?).await?;
            Ok(Arc::new(SqliteDirectory::new(database)))
        }
        Backends::Services => {
            let directory = PgDirectory::connect(config.stores.postgres.reveal()).await?;
            Ok(Arc::new(directory))
        }
    }
}

/// Opens only what a replay of dead letters needs, and takes leave of it after `work`; no lease is
/// taken. As for the accounts, the embedded store must be there.
pub(super) async fn with_replay<T>(
    config: &Config,
    work: impl AsyncFnOnce(Replay) -> T,
) -> Result<T, StartError> {
    match config.stores.backends().unwrap_or(Backends::Embedded) {
        Backends::Embedded => {
            let file = file_that_is_there(&config.server.data)?;
            let stores = EmbeddedStores::open(&file, &Tasks::default()).await?;
            let replay = Replay {
                dead_letters: stores.dead_letters,
                messages: stores.messages,
                epochs: stores.epochs,
                unread: stores.unread,
                cards: Arc::new(NoCards),
            };
            let done = work(replay).await;
            stores.database.close().await;
            Ok(done)
        }
        Backends::Services => {
            let url = config.stores.mongodb.reveal();
            let stores = MongoStores::connect(url, &config.mongodb).await?;
            let redis = config.stores.redis.reveal();
            let cards = RedisStores::cards(redis, &config.redis).await?;
            let replay = Replay {
                dead_letters: stores.dead_letters.clone(),
                messages: stores.messages.clone(),
                epochs: stores.epochs.clone(),
                unread: stores.unread.clone(),
                cards,
            };
            let done = work(replay).await;
            stores.close().await;
            Ok(done)
        }
    }
}

/// Looks at the stores that the configuration names; changes nothing there.
pub(super) async fn examine(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let urls = &config.stores;
    match urls.backends().unwrap_or(Backends::Embedded) {
        Backends::Embedded => examine_embedded(&config.server.data.join(DATABASE_FILE)).await,
        Backends::Services => {
            let (redis, mongo, postgres) = tokio::join!(
                examine_redis(urls.redis.reveal(), &config.redis, clock),
                examine_mongo(urls.mongodb.reveal(), &config.mongodb, clock),
                examine_postgres(urls.postgres.reveal(), clock),
            );
            [redis, mongo, postgres].concat()
        }
    }
}

fn file_that_is_there(data: &Path) -> Result<PathBuf, StartError> {
    let path = data.join(DATABASE_FILE);
    match std::fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(source) => Err(StartError::Data { path, source }),
    }
}

async fn open_services(
    config: &Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Stores, StartError> {
    let urls = &config.stores;
    let redis = RedisStores::connect(urls.redis.reveal(), &config.redis, tasks);
    let mongo = MongoStores::connect(urls.mongodb.reveal(), &config.mongodb);
    let postgres = PgDatabase::connect(urls.postgres.reveal());
    let (redis, mongo, postgres) = tokio::try_join!(redis, mongo, postgres)?;
    let directory = Arc::new(PgDirectory::new(postgres.clone()));
    let roster = roster(config, postgres, directory.clone(), metrics, tasks)?;
    let memory = redis
        .memory
        .watch(metrics.clone(), tasks.draining().clone());
    tasks.spawn_vital("redis memory", memory);
    let fitness = redis
        .fitness
        .watch(metrics.clone(), tasks.draining().clone());
    tasks.spawn_vital("redis settings", fitness);
    Ok(Stores {
        accounts: directory.clone(),
        directory,
        roster,
        log: redis.log,
        cards: redis.cards,
        consumers: redis.consumers,
        signals: redis.signals,
        presence: redis.presence,
        epochs: mongo.epochs.clone(),
        messages: mongo.messages.clone(),
        dead_letters: mongo.dead_letters.clone(),
        unread: mongo.unread.clone(),
        mongo: Some(mongo),
    })
}

/// Lists of people, from replicas if there are any.
fn roster(
    config: &Config,
    primary: PgDatabase,
    directory: Arc<dyn Directory>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Arc<dyn Roster>, StartError> {
    let urls = config.stores.postgres_replicas.iter();
    let urls: Vec<&str> = urls.map(Secret::reveal).collect();
    if urls.is_empty() {
        return Ok(Arc::new(Direct(directory)));
    }
    let replicas = Replicas::new(primary, &urls, &config.postgres, metrics.clone())?;
    let replicas = Arc::new(replicas);
    let watch = replicas.clone().watch(tasks.draining().clone());
    tasks.spawn_vital("replicas", watch);
    Ok(replicas)
}

async fn open_embedded(data: &Path, tasks: &Tasks) -> Result<Stores, StartError> {
    let stores = EmbeddedStores::open(&data.join(DATABASE_FILE), tasks).await?;
    let directory = Arc::new(SqliteDirectory::new(stores.database));
    Ok(Stores {
        accounts: directory.clone(),
        roster: Arc::new(Direct(directory.clone())),
        directory,
        log: stores.log,
        cards: Arc::new(NoCards),
        consumers: stores.consumers,
        epochs: stores.epochs,
        messages: stores.messages,
        dead_letters: stores.dead_letters,
        unread: stores.unread,
        signals: stores.signals,
        presence: stores.presence,
        mongo: None,
    })
}
