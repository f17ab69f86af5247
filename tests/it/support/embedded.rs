//! Embedded stores, each over a file of its own in a folder that goes with it.

use std::path::Path;

use qunliu::lifecycle::Tasks;
use qunliu::store::dead_letters::DeadLetters;
use qunliu::store::embedded::stores::EmbeddedStores;
use qunliu::store::epochs::Epochs;
use qunliu::store::messages::Messages;
use qunliu::store::unread::Unread;

use crate::contract::{consumers, log, presence, signals};
use crate::support::fixture::Fixture;
use crate::support::folder::Folder;

/// The stores in a file.
pub(crate) async fn open(file: &Path) -> EmbeddedStores {
    EmbeddedStores::open(file, &Tasks::default()).await.unwrap()
}

async fn fresh() -> (EmbeddedStores, Folder) {
    let folder = Folder::new();
    (open(&folder.file()).await, folder)
}

/// A log in a file of its own.
pub(crate) async fn log_subject() -> Option<log::Subject> {
    let (stores, folder) = fresh().await;
    Some(log::Subject {
        log: stores.log,
        _keep: Box::new(folder),
    })
}

/// A log with consumers in a file of its own.
pub(crate) async fn consumers_subject() -> Option<consumers::Subject> {
    let (stores, folder) = fresh().await;
    Some(consumers::Subject {
        log: stores.log,
        consumers: stores.consumers,
        _keep: Box::new(folder),
    })
}

/// Signals within this process.
pub(crate) async fn signals_subject() -> Option<signals::Subject> {
    let (stores, folder) = fresh().await;
    Some(signals::Subject {
        signals: stores.signals,
        _keep: Box::new(folder),
    })
}

/// Presence within one process.
pub(crate) async fn presence_subject() -> Option<presence::Subject> {
    let (stores, folder) = fresh().await;
    Some(presence::Subject {
        processes: vec![stores.presence],
        _keep: Box::new(folder),
    })
}

/// Epochs in a file of their own.
pub(crate) async fn epochs_subject() -> Option<Fixture<dyn Epochs>> {
    let (stores, folder) = fresh().await;
    Some(Fixture::in_place(stores.epochs, folder))
}

/// Messages in a file of their own.
pub(crate) async fn messages_subject() -> Option<Fixture<dyn Messages>> {
    let (stores, folder) = fresh().await;
    Some(Fixture::in_place(stores.messages, folder))
}

/// Dead letters in a file of their own.
pub(crate) async fn dead_letters_subject() -> Option<Fixture<dyn DeadLetters>> {
    let (stores, folder) = fresh().await;
    Some(Fixture::in_place(stores.dead_letters, folder))
}

/// Unread counts in a file of their own.
pub(crate) async fn unread_subject() -> Option<Fixture<dyn Unread>> {
    let (stores, folder) = fresh().await;
    Some(Fixture::in_place(stores.unread, folder))
}
