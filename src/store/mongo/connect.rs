//! Connecting: the options, the checks at start, the collections; then one store for each trait.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, ClusteredIndex, ConnectionString, IndexOptions, ReadConcern,
    ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, IndexModel};

use super::database::{Db, close};
use super::dead_letters::MongoDeadLetters;
use super::epochs::MongoEpochs;
use super::failure::failed;
use super::fitness;
use super::layout::{self, CURSORS, EVENTS};
use super::messages::MongoMessages;
use super::unread::MongoUnread;
use crate::store::Result;
use crate::store::dead_letters::DeadLetters;
use crate::store::epochs::Epochs;
use crate::store::messages::Messages;
use crate::store::unread::Unread;

/// The database when the address names none.
const DATABASE: &str = "qunliu";

/// Options of this folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many connections this node opens to one MongoDB server at most. Callers above it wait
    /// within their deadline.
    pub pool_connections_max: u32,
    /// How long a call waits for a primary, in milliseconds.
    pub selection_ms_max: u64,
    /// How long a call takes in all, in milliseconds. Also how long the server works on it.
    pub call_ms_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pool_connections_max: 64,
            selection_ms_max: 2000,
            call_ms_max: 5000,
        }
    }
}

/// Whether this is an address as config.toml describes it.
pub fn is_address(text: &str) -> bool {
    ConnectionString::parse(text).is_ok()
}

/// The stores that MongoDB keeps.
#[derive(Clone)]
pub struct MongoStores {
    /// Fences and epoch tables.
    pub epochs: Arc<dyn Epochs>,
    /// The history.
    pub messages: Arc<dyn Messages>,
    /// Events that could not be handled.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Read marks, mentions.
    pub unread: Arc<dyn Unread>,
    client: Client,
}

impl MongoStores {
    /// Connects to the replica set at `url`, refuses one that cannot keep the promises, and
    /// makes the collections that are missing. What the URL says of read and write concern is
    /// overridden: the promises are not the operator's to loosen.
    ///
    /// # Errors
    /// `Failed`: the URL is wrong, or the server is unfit; the cause says what is wrong and how
    /// to mend it. `Unavailable`: nothing answers.
    pub async fn connect(url: &str, options: &Options) -> Result<Self> {
        let client_options = client_options(url, options).await?;
        let client = Client::with_options(client_options.clone()).map_err(failed)?;
        let deadline = Duration::from_millis(options.call_ms_max);
        let connected = Self::over(&client, &client_options, deadline).await;
        if connected.is_err() {
            close(client).await;
        }
        connected
    }

    async fn over(client: &Client, options: &ClientOptions, deadline: Duration) -> Result<Self> {
        fitness::check(client, options, deadline).await?;
        let db = Db::new(client.database(database_name(options)), deadline);
        make_collections(&db).await?;
        Ok(Self {
            epochs: Arc::new(MongoEpochs::new(db.clone())),
            messages: Arc::new(MongoMessages::new(db.clone())),
            dead_letters: Arc::new(MongoDeadLetters::new(db.clone())),
            unread: Arc::new(MongoUnread::new(db)),
            client: client.clone(),
        })
    }

    /// Ends the connections, when nothing uses the stores any more. Without it the driver does
    /// so in a task of its own, which panics when the runtime ends first.
    pub async fn close(self) {
        close(self.client).await;
    }
}

/// The database that the address names, or ours.
pub(super) fn database_name(options: &ClientOptions) -> &str {
    options.default_database.as_deref().unwrap_or(DATABASE)
}

/// What the driver is told, whatever the address says of concerns.
pub(super) async fn client_options(url: &str, options: &Options) -> Result<ClientOptions> {
    let mut client = ClientOptions::parse(url).await.map_err(failed)?;
    let call = Duration::from_millis(options.call_ms_max);
    let selection = Duration::from_millis(options.selection_ms_max);
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(call)
        .build();
    client.app_name.get_or_insert_with(|| "qunliu".to_owned());
    client.connect_timeout = Some(selection);
    client.server_selection_timeout = Some(selection);
    client.max_pool_size = Some(options.pool_connections_max);
    // A pool that opens two connections at a time, the default, takes seconds to warm up.
    client.max_connecting = Some(8);
    client.retry_reads = Some(true);
    client.retry_writes = Some(true);
    client.read_concern = Some(ReadConcern::majority());
    client.write_concern = Some(durable);
    client.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Ok(client)
}

/// Makes what is not there yet. Doing it again, also from many nodes at once, changes nothing.
async fn make_collections(db: &Db) -> Result<()> {
    for name in [EVENTS, CURSORS] {
        make_clustered(db, name).await?;
    }
    let index = |name: &str, keys: Document| {
        let options = IndexOptions::builder().name(name.to_owned()).build();
        IndexModel::builder().keys(keys).options(options).build()
    };
    let indexes = [
        index("send", doc! { "c": 1 }),
        index("sender", layout::by_sender()),
    ];
    let events = db.collection(EVENTS);
    db.call(events.create_indexes(indexes)).await?;
    Ok(())
}

/// Makes a clustered collection. MongoDB refuses one that is there, even with the same options,
/// so what counts is how it is afterwards.
async fn make_clustered(db: &Db, name: &str) -> Result<()> {
    let create = db.database().create_collection(name);
    let created = db.call(create.clustered_index(ClusteredIndex::default()));
    let Err(error) = created.await else {
        return Ok(());
    };
    match is_clustered(db, name).await? {
        Some(true) => Ok(()),
        Some(false) => Err(failed(format!(
            "the collection {name} is there, but not clustered on _id: it was not made by \
             Qunliu; move it away or name another database in the address"
        ))),
        None => Err(error),
    }
}

/// Whether a collection is clustered; `None` if it is not there.
pub(super) async fn is_clustered(db: &Db, name: &str) -> Result<Option<bool>> {
    let list = db.database().list_collections();
    let mut found = db.call(list.filter(doc! { "name": name })).await?;
    let specification = db.call(found.try_next()).await?;
    Ok(specification.map(|found| found.options.clustered_index.is_some()))
}
