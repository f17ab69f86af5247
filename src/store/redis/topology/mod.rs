//! Which servers there are, and which of them is asked: the only room that knows whether Redis is
//! one server, one that Sentinel replaces, or a cluster.
//!
//! - [`address`]: the address that is configured
//! - [`Topology`]: the newest [`map`] of which [`home`] lies on which [`shard`]
//! - [`sentinel`]: who is the master; [`cluster`] and [`slots`]: who serves what
//! - [`dial`]: a new connection to a server; [`link`]: one that mends itself; [`gate`]: calls that go together

pub(super) mod address;
mod cluster;
pub(super) mod dial;
mod gate;
pub(super) mod home;
pub(super) mod link;
pub(super) mod map;
mod sentinel;
pub(super) mod shard;
mod slots;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::RedisResult;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::address::Address;
use self::cluster::Cluster;
use self::dial::Dial;
use self::map::Map;
use self::shard::Shard;
use super::options::Options;

/// How often a cluster is looked at although nothing is wrong.
const PERIOD: Duration = Duration::from_secs(10);
/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The servers of one address.
#[derive(Debug)]
pub(super) struct Topology {
    map: RwLock<Arc<Map>>,
    /// Whom to ask for another map; nobody if there is but one server at a time.
    cluster: Option<Cluster>,
    /// When it was last asked. One look at a time.
    looked: Mutex<Instant>,
    doubted: Notify,
}

impl Topology {
    /// What an address names; a cluster is asked who serves what.
    ///
    /// # Errors
    /// The address is none, or no server of the cluster answers.
    pub(super) async fn connect(address: &str, options: &Options) -> RedisResult<Self> {
        let (map, cluster) = match Address::parse(address)? {
            Address::Cluster(seeds) => {
                let seeds = seeds.into_iter().map(|seed| Dial::server(seed, options));
                let seeds = seeds.collect::<RedisResult<_>>()?;
                let cluster = Cluster::new(seeds, options.connections, options.connect_timeout());
                (Box::pin(cluster.map(&[])).await?, Some(cluster))
            }
            Address::Server(server) => (one(Dial::server(server, options)?, options), None),
            Address::Sentinel {
                sentinels,
                name,
                master,
            } => {
                let dial = Dial::master(sentinels, name, master, options)?;
                (one(dial, options), None)
            }
        };
        Ok(Self {
            map: RwLock::new(Arc::new(map)),
            cluster,
            looked: Mutex::new(Instant::now()),
            doubted: Notify::new(),
        })
    }

    /// The newest map.
    pub(super) fn map(&self) -> Arc<Map> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&map)
    }

    /// Something failed that another map may mend: it is looked for soon.
    pub(super) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Looks for another map than `seen`, unless there is one or that was just done.
    pub(super) async fn look(&self, seen: &Arc<Map>) -> RedisResult<()> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        let mut looked = self.looked.lock().await;
        if !Arc::ptr_eq(seen, &self.map()) || looked.elapsed() < PAUSE {
            return Ok(());
        }
        // Calls wait in here seldom: they need not be as large as this.
        let found = Box::pin(cluster.map(seen.shards())).await;
        *looked = Instant::now();
        let found = found?;
        if !found.is_like(seen) {
            tracing::info!(masters = found.shards().len(), "the cluster changed");
            *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        }
        Ok(())
    }

    /// Looks again whenever that may help, until `stop`.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let watching = async {
            loop {
                tokio::select! {
                    () = self.doubted.notified() => {}
                    () = tokio::time::sleep(PERIOD) => {}
                }
                if let Err(error) = self.look(&self.map()).await {
                    tracing::debug!(%error, "the cluster is looked at again later");
                }
                tokio::time::sleep(2 * PAUSE).await;
            }
        };
        stop.run_until_cancelled(watching).await;
    }
}

fn one(dial: Dial, options: &Options) -> Map {
    Map::of_one(Shard::new(dial, options.connections))
}
