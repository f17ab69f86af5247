//! How much of its memory each Redis uses. One that is nearly full takes no appends any more, so that
//! there is room for the consumers to drain it; operators see it too.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use redis::cmd;
use tokio_util::sync::CancellationToken;

use super::fault::fault;
use super::info::{info_field, info_text};
use super::topology::Topology;
use super::topology::shard::Shard;
use crate::model::id::GroupId;
use crate::telemetry::Metrics;

/// How often it is read.
const PERIOD: Duration = Duration::from_secs(1);

/// The memory of all servers that take writes.
#[derive(Debug, Clone)]
pub struct Memory {
    topology: Arc<Topology>,
    full_percent: u8,
}

impl Memory {
    pub(super) const fn new(topology: Arc<Topology>, full_percent: u8) -> Self {
        Self {
            topology,
            full_percent,
        }
    }

    /// Whether appends to a group are refused.
    pub(super) fn is_full(&self, group: GroupId) -> bool {
        self.topology.map().shard(group.into()).is_full()
    }

    /// Notes which servers are full, and shows what is used and what there is where that is
    /// nearest to each other, until `stop`; nothing while no server answers.
    pub async fn watch(self, metrics: Metrics, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let map = self.topology.map();
            let read = join_all(map.shards().iter().map(|shard| self.read(shard))).await;
            match read.into_iter().flatten().max_by(fuller) {
                Some(sizes) => show(&metrics, &sizes),
                None => metrics.redis_memory.reset(),
            }
        }
    }

    /// Reads the sizes of one server, and notes whether it is full.
    async fn read(&self, shard: &Shard) -> Option<Sizes> {
        let info = shard.reads.command(cmd("INFO").arg("memory")).await;
        let info = info.map_err(fault).and_then(|info| info_text(&info));
        let sizes = match info {
            Ok(info) => sizes(&info)?,
            Err(error) => {
                tracing::debug!(%error, "the memory of Redis is read again later");
                return None;
            }
        };
        let is_full = sizes.percent() >= i128::from(self.full_percent);
        if shard.set_full(is_full) {
            tracing::warn!(is_full, sizes.used, sizes.limit, "Redis' memory");
        }
        Some(sizes)
    }
}

/// Bytes of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) used: i64,
    pub(super) limit: i64,
}

impl Sizes {
    pub(super) fn percent(self) -> i128 {
        i128::from(self.used) * 100 / i128::from(self.limit).max(1)
    }
}

fn fuller(one: &Sizes, other: &Sizes) -> std::cmp::Ordering {
    one.percent().cmp(&other.percent())
}

fn show(metrics: &Metrics, sizes: &Sizes) {
    for (kind, bytes) in [("used", sizes.used), ("limit", sizes.limit)] {
        metrics.redis_memory.with_label_values(&[kind]).set(bytes);
    }
}

/// What is used, and the limit: what the machine has counts where `maxmemory` is 0.
pub(super) fn sizes(info: &str) -> Option<Sizes> {
    let size = |name| info_field(info, name)?.parse().ok();
    let maxmemory = size("maxmemory").filter(|bytes| *bytes > 0);
    Some(Sizes {
        used: size("used_memory")?,
        limit: maxmemory.or_else(|| size("total_system_memory"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_maxmemory_the_limit_is_what_the_machine_has() {
        let info = "# Memory\r\nused_memory:7\r\ntotal_system_memory:90\r\nmaxmemory:0\r\n";
        assert_eq!(sizes(info), Some(Sizes { used: 7, limit: 90 }));
        let bounded = info.replace("maxmemory:0", "maxmemory:50");
        assert_eq!(sizes(&bounded), Some(Sizes { used: 7, limit: 50 }));
    }
}
