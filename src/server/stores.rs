//! Which backend keeps what: the one place where a backend is named.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::config::{Backends, Config};
use crate::lifecycle::Tasks;
use crate::store::consumers::ConsumerLog;
use crate::store::directory::Directory;
use crate::store::embedded::directory::SqliteDirectory;
use crate::store::embedded::stores::EmbeddedStores;
use crate::store::epochs::Epochs;
use crate::store::log::Log;
use crate::store::messages::Messages;
use crate::store::mongo::connect::MongoStores;
use crate::store::postgres::directory::PgDirectory;
use crate::store::redis::stores::RedisStores;
use crate::store::signals::Signals;
use crate::store::unread::Unread;

/// The embedded stores' file in the data folder.
const DATABASE_FILE: &str = "qunliu.sqlite";

/// The stores of one server, whatever the backend.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) log: Arc<dyn Log>,
    pub(super) consumers: Arc<dyn ConsumerLog>,
    pub(super) epochs: Arc<dyn Epochs>,
    pub(super) messages: Arc<dyn Messages>,
    pub(super) unread: Arc<dyn Unread>,
    pub(super) signals: Arc<dyn Signals>,
}

/// Opens the stores that the configuration names.
pub(super) async fn open(config: &Config, tasks: &Tasks) -> Result<Stores, StartError> {
    match config.stores.backends().unwrap_or(Backends::Embedded) {
        Backends::Embedded => embedded(&config.server.data, tasks).await,
        Backends::Services => services(config, tasks).await,
    }
}

async fn services(config: &Config, tasks: &Tasks) -> Result<Stores, StartError> {
    let urls = &config.stores;
    let redis = RedisStores::connect(urls.redis.reveal(), &config.redis, tasks);
    let mongo = MongoStores::connect(urls.mongodb.reveal(), &config.mongodb);
    let directory = PgDirectory::connect(urls.postgres.reveal());
    let (redis, mongo, directory) = tokio::try_join!(redis, mongo, directory)?;
    Ok(Stores {
        directory: Arc::new(directory),
        log: redis.log,
        consumers: redis.consumers,
        signals: redis.signals,
        epochs: mongo.epochs,
        messages: mongo.messages,
        unread: mongo.unread,
    })
}

async fn embedded(data: &Path, tasks: &Tasks) -> Result<Stores, StartError> {
    let stores = EmbeddedStores::open(&data.join(DATABASE_FILE), tasks).await?;
    Ok(Stores {
        directory: Arc::new(SqliteDirectory::new(stores.database)),
        log: stores.log,
        consumers: stores.consumers,
        epochs: stores.epochs,
        messages: stores.messages,
        unread: stores.unread,
        signals: stores.signals,
    })
}
