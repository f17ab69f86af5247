//! Whether the servers that take writes are as they must be, long after the start: one that was promoted has
//! settings of its own, and those of any may be changed while it runs.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::check::check;
use super::options::Options;
use super::topology::Topology;
use super::topology::shard::Shard;
use crate::telemetry::Metrics;

/// How often it is looked, and said that messages may be lost.
const PERIOD: Duration = Duration::from_secs(60);

/// The settings of all servers that take writes.
#[derive(Debug, Clone)]
pub struct Fitness {
    topology: Arc<Topology>,
    options: Options,
}

impl Fitness {
    pub(super) const fn new(topology: Arc<Topology>, options: Options) -> Self {
        Self { topology, options }
    }

    /// Looks at once and every minute, until `stop`.
    pub async fn watch(self, metrics: Metrics, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.look(&metrics).await;
        }
    }

    /// Says which servers may lose messages, and shows how many do so unallowed. One that does not answer is
    /// judged at the next look.
    pub async fn look(&self, metrics: &Metrics) {
        let map = self.topology.map();
        let judged = join_all(map.shards().iter().map(|shard| self.is_unfit(shard))).await;
        let unfit = judged.into_iter().filter(|unfit| *unfit).count();
        metrics
            .redis_unfit
            .set(i64::try_from(unfit).unwrap_or(i64::MAX));
    }

    async fn is_unfit(&self, shard: &Shard) -> bool {
        match check(&shard.reads, &self.options).await {
            Ok(Some(unfit)) => {
                tracing::warn!(reason = %unfit, "running on a Redis that may lose messages");
                false
            }
            Ok(None) => false,
            Err(error) if error.is_transient() => false,
            Err(error) => {
                let reason = error.source().map(ToString::to_string);
                tracing::error!(
                    reason,
                    "a Redis that takes writes may lose messages: was it promoted?"
                );
                true
            }
        }
    }
}
