//! All stores over one file, put together.

use std::path::Path;
use std::sync::Arc;

use super::consumers::EmbeddedConsumers;
use super::database::Database;
use super::dead_letters::EmbeddedDeadLetters;
use super::doorbell::Doorbell;
use super::epochs::EmbeddedEpochs;
use super::log::EmbeddedLog;
use super::messages::EmbeddedMessages;
use super::presence::EmbeddedPresence;
use super::signals::EmbeddedSignals;
use super::unread::EmbeddedUnread;
use super::writer::Writer;
use crate::lifecycle::Tasks;
use crate::store::Result;
use crate::store::consumers::ConsumerLog;
use crate::store::dead_letters::DeadLetters;
use crate::store::epochs::Epochs;
use crate::store::log::Log;
use crate::store::messages::Messages;
use crate::store::presence::Presence;
use crate::store::signals::Signals;
use crate::store::unread::Unread;

/// The stores of one process and its file. The file is for one process at a time: what is in
/// memory here, as who is to be rung, knows of no other writer.
#[derive(Clone)]
pub struct EmbeddedStores {
    /// The file, for the directory.
    pub database: Database,
    /// The live logs.
    pub log: Arc<dyn Log>,
    /// The consumers of the logs.
    pub consumers: Arc<dyn ConsumerLog>,
    /// Fences and epoch tables.
    pub epochs: Arc<dyn Epochs>,
    /// The history.
    pub messages: Arc<dyn Messages>,
    /// Events that could not be handled.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Read marks and mentions.
    pub unread: Arc<dyn Unread>,
    /// Nudges within the process.
    pub signals: Arc<dyn Signals>,
    /// Who is here.
    pub presence: Arc<dyn Presence>,
}

impl EmbeddedStores {
    /// Opens the file at `path`, made if it is not there. Commits run as tasks of `tasks`: a
    /// stop waits for them, and after an abort writes are `Unavailable`.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub async fn open(path: &Path, tasks: &Tasks) -> Result<Self> {
        let database = Database::open(path).await?;
        let doorbell = Arc::new(Doorbell::default());
        let writer = Writer::new(database.clone(), doorbell.clone(), tasks.clone());
        let log = EmbeddedLog::new(database.clone(), writer.clone(), doorbell.clone()).await?;
        let consumers = EmbeddedConsumers::new(database.clone(), writer.clone(), &doorbell);
        Ok(Self {
            log: Arc::new(log),
            consumers: Arc::new(consumers),
            epochs: Arc::new(EmbeddedEpochs::new(database.clone(), writer.clone())),
            messages: Arc::new(EmbeddedMessages::new(database.clone(), writer.clone())),
            dead_letters: Arc::new(EmbeddedDeadLetters::new(database.clone(), writer.clone())),
            unread: Arc::new(EmbeddedUnread::new(database.clone(), writer)),
            signals: Arc::new(EmbeddedSignals::default()),
            presence: Arc::new(EmbeddedPresence::default()),
            database,
        })
    }
}
