//! A real MongoDB, with a database for each case that is dropped when the case is over.

use std::sync::Arc;

use mongodb::Client;
use qunliu::store::dead_letters::DeadLetters;
use qunliu::store::epochs::Epochs;
use qunliu::store::messages::Messages;
use qunliu::store::mongo::connect::{MongoStores, Options};
use qunliu::store::unread::Unread;
use uuid::Uuid;

use super::fixture::Fixture;
use super::service;

/// Where the tests find MongoDB.
const VARIABLE: &str = "QUNLIU_TEST_MONGODB";

/// A database of its own; its collections are gone when it is dropped.
pub(crate) struct Place {
    server: String,
    name: String,
}

impl Place {
    /// A name that no other test has; `None` if MongoDB is not there.
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            server: service(VARIABLE)?,
            name: format!("qunliu_test_{}", Uuid::now_v7().simple()),
        })
    }

    /// The server's address with the name of the database in it.
    pub(crate) fn url(&self) -> String {
        let (base, query) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let base = base.trim_end_matches('/');
        format!("{base}/{}?{query}", self.name)
    }
}

impl Drop for Place {
    /// On a thread with a runtime of its own: a drop cannot wait within the test's.
    fn drop(&mut self) {
        let (url, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let client = Client::with_uri_str(url).await.unwrap();
                client.database(&name).drop().await.unwrap();
            });
        });
        if dropped.join().is_err() {
            eprintln!("the database {} was not dropped", self.name);
        }
    }
}

/// Fresh stores, if MongoDB is there. They wait for a busy one.
pub(crate) async fn open() -> Option<(MongoStores, Place)> {
    let place = Place::new()?;
    let patient = Options {
        call_ms_max: 30_000,
        ..Options::default()
    };
    let stores = MongoStores::connect(&place.url(), &patient).await;
    Some((stores.unwrap(), place))
}

/// An [`Epochs`] for one case.
pub(crate) async fn open_epochs() -> Option<Fixture<dyn Epochs>> {
    let (stores, place) = open().await?;
    Some(Fixture::in_place(Arc::clone(&stores.epochs), place))
}

/// A [`Messages`] for one case.
pub(crate) async fn open_messages() -> Option<Fixture<dyn Messages>> {
    let (stores, place) = open().await?;
    Some(Fixture::in_place(Arc::clone(&stores.messages), place))
}

/// [`DeadLetters`] for one case.
pub(crate) async fn open_dead_letters() -> Option<Fixture<dyn DeadLetters>> {
    let (stores, place) = open().await?;
    Some(Fixture::in_place(Arc::clone(&stores.dead_letters), place))
}

/// An [`Unread`] for one case.
pub(crate) async fn open_unread() -> Option<Fixture<dyn Unread>> {
    let (stores, place) = open().await?;
    Some(Fixture::in_place(Arc::clone(&stores.unread), place))
}
