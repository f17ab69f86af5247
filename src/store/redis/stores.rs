//! The way in: one Redis as log, consumers and signals.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::check::{Unfit, check};
use super::consumers::{Desk, RedisConsumers};
use super::dial::Dial;
use super::fault::fault;
use super::keeper::Keeper;
use super::links::Links;
use super::log::RedisLog;
use super::options::Options;
use super::signals::RedisSignals;
use crate::lifecycle::Tasks;
use crate::store::Result;
use crate::store::consumers::ConsumerLog;
use crate::store::log::Log;
use crate::store::signals::Signals;

/// How often it is said that data may be lost.
const WARNING: Duration = Duration::from_secs(60);

/// What one Redis serves.
#[derive(Clone)]
pub struct RedisStores {
    /// The groups' live logs.
    pub log: Arc<dyn Log>,
    /// Who has handled what of them.
    pub consumers: Arc<dyn ConsumerLog>,
    /// Nudges between processes.
    pub signals: Arc<dyn Signals>,
}

impl RedisStores {
    /// Connects to the Redis at `url`, as in `redis://:password@host:6379/0`, loads the functions
    /// and begins to hold leases and to listen, in tasks of `tasks`.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer. `Failed` if it is too old, would drop messages when
    /// full, or does not sync each append to its disk (unless the options allow that); the cause
    /// says how to mend it.
    pub async fn connect(url: &str, options: &Options, tasks: &Tasks) -> Result<Self> {
        let links = Arc::new(Links::new(Dial::new(url, options).map_err(fault)?, options));
        if let Some(unfit) = check(&links.reads, options).await? {
            tasks.spawn(warn(unfit, tasks.draining().clone()));
        }
        links.load(&links.reads).await?;
        let (signals, listener) = RedisSignals::connect(Arc::clone(&links)).await?;
        let (desk, me) = (Arc::new(Desk::default()), Uuid::new_v4().to_string());
        let keeper = Keeper::new(
            Arc::clone(&links),
            Arc::clone(&desk),
            me.clone(),
            options.lease(),
        );
        tasks.spawn_vital("signals", listener.run(tasks.draining().clone()));
        tasks.spawn_vital("leases", keeper.run(tasks.draining().clone()));
        Ok(Self {
            log: Arc::new(RedisLog::new(Arc::clone(&links))),
            consumers: Arc::new(RedisConsumers::new(links, desk, me)),
            signals: Arc::new(signals),
        })
    }
}

async fn warn(unfit: Unfit, draining: tokio_util::sync::CancellationToken) {
    let mut minute = tokio::time::interval(WARNING);
    while draining.run_until_cancelled(minute.tick()).await.is_some() {
        tracing::warn!(reason = %unfit, "running on a Redis that may lose messages");
    }
}
