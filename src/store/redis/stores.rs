//! The way in: Redis as log, consumers and signals.

use std::sync::Arc;

use uuid::Uuid;

use super::cards::RedisCards;
use super::check::check;
use super::consumers::{Desk, RedisConsumers};
use super::fault::fault;
use super::fitness::Fitness;
use super::keeper::Keeper;
use super::links::Links;
use super::log::RedisLog;
use super::memory::Memory;
use super::options::Options;
use super::presence::RedisPresence;
use super::signals::RedisSignals;
use super::topology::Topology;
use super::topology::address::Address;
use crate::lifecycle::Tasks;
use crate::store::Result;
use crate::store::cards::Cards;
use crate::store::consumers::ConsumerLog;
use crate::store::log::Log;
use crate::store::presence::Presence;
use crate::store::signals::Signals;

/// Whether this is an address as config.toml describes it.
pub fn is_address(text: &str) -> bool {
    Address::parse(text).is_ok()
}

/// What Redis serves.
#[derive(Clone)]
pub struct RedisStores {
    /// The groups' live logs.
    pub log: Arc<dyn Log>,
    /// Who has handled what of them.
    pub consumers: Arc<dyn ConsumerLog>,
    /// Nudges between processes.
    pub signals: Arc<dyn Signals>,
    /// What sockets need that come back.
    pub cards: Arc<dyn Cards>,
    /// Who is here.
    pub presence: Arc<dyn Presence>,
    /// How full it is.
    pub memory: Memory,
    /// Whether its settings are as they must be.
    pub fitness: Fitness,
}

impl RedisStores {
    /// Only the cards of what `address` names, for who changes what they copy and serves nobody.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn cards(address: &str, options: &Options) -> Result<Arc<dyn Cards>> {
        let topology = Topology::connect(address, options).await.map_err(fault)?;
        Ok(Arc::new(RedisCards::new(Arc::new(Links::new(Arc::new(
            topology,
        ))))))
    }

    /// Connects to what `address` names, as config.toml describes it, loads the functions and
    /// begins to hold leases and to listen, in tasks of `tasks`.
    ///
    /// # Errors
    /// `Unavailable` if it does not answer. `Failed` if it is too old, would drop messages when
    /// full, or does not sync each append to its disk (unless the options allow that); the cause
    /// says how to mend it.
    pub async fn connect(address: &str, options: &Options, tasks: &Tasks) -> Result<Self> {
        let topology = Arc::new(Topology::connect(address, options).await.map_err(fault)?);
        let links = Arc::new(Links::new(Arc::clone(&topology)));
        for shard in topology.map().shards() {
            check(&shard.reads, options).await?;
            links.load(&shard.reads).await.map_err(fault)?;
        }
        let (signals, listener) = RedisSignals::connect(Arc::clone(&links)).await?;
        let (desk, me) = (Arc::new(Desk::default()), Uuid::new_v4().to_string());
        let presence = RedisPresence::connect(Arc::clone(&links), me.clone(), options.lease());
        let (presence, hints) = presence.await?;
        let keeper = Keeper::new(
            Arc::clone(&links),
            Arc::clone(&desk),
            me.clone(),
            options.lease(),
        );
        tasks.spawn_vital("signals", listener.run(tasks.draining().clone()));
        tasks.spawn_vital("hints", hints.run(tasks.draining().clone()));
        tasks.spawn_vital("leases", keeper.run(tasks.draining().clone()));
        let memory = Memory::new(Arc::clone(&topology), options.full_percent);
        let fitness = Fitness::new(Arc::clone(&topology), options.clone());
        tasks.spawn_vital("topology", topology.watch(tasks.draining().clone()));
        Ok(Self {
            log: Arc::new(RedisLog::new(Arc::clone(&links), memory.clone())),
            cards: Arc::new(RedisCards::new(Arc::clone(&links))),
            memory,
            fitness,
            consumers: Arc::new(RedisConsumers::new(links, desk, me, options.idle_ms)),
            signals: Arc::new(signals),
            presence: Arc::new(presence),
        })
    }
}
