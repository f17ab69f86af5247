//! Which home lies on which server.

use std::sync::Arc;

use super::home::Home;
use super::shard::Shard;

/// All servers that take writes, and what lies on each. It never changes; a newer one replaces it.
#[derive(Debug)]
pub(crate) struct Map {
    shards: Vec<Arc<Shard>>,
    /// The shard of each home, by [`Home::index`]; empty if there is one server and no slots.
    homes: Vec<usize>,
}

impl Map {
    /// Everything lies on one server.
    pub(super) fn of_one(shard: Shard) -> Self {
        Self {
            shards: vec![Arc::new(shard)],
            homes: Vec::new(),
        }
    }

    /// Each home lies on one of the masters of a cluster: there is one at least, and `homes` are
    /// indices of them.
    pub(super) const fn of_cluster(shards: Vec<Arc<Shard>>, homes: Vec<usize>) -> Self {
        Self { shards, homes }
    }

    /// The servers.
    pub(crate) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    /// Which of the servers a home lies on.
    pub(crate) fn index(&self, home: Home) -> usize {
        self.homes.get(home.index()).copied().unwrap_or(0)
    }

    /// The server a home lies on.
    pub(crate) fn shard(&self, home: Home) -> &Arc<Shard> {
        let shard = self.shards.get(self.index(home));
        shard.expect("homes lie on servers of the map")
    }

    /// Whether one command may be about several homes: a cluster refuses that, even if they lie
    /// on one server.
    pub(crate) const fn joins_homes(&self) -> bool {
        self.homes.is_empty()
    }

    /// Whether both say the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.homes == other.homes
            && self.shards.len() == other.shards.len()
            && self
                .shards
                .iter()
                .zip(&other.shards)
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }
}
