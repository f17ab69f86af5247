//! Asks the servers of a cluster which of them serves what.
//!
//! The driver's own cluster client is not used: it re-sends what may have been carried out, hands
//! commands to its servers in no fixed order, and has no tracking that is ours to switch on again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{Cmd, RedisError, RedisResult, Value, cmd};

use super::dial::Dial;
use super::home::Home;
use super::map::Map;
use super::shard::Shard;
use super::slots::{Place, Range, ranges};

/// The servers that the address names, and how their cluster is looked at.
#[derive(Debug)]
pub(super) struct Cluster {
    seeds: Vec<Dial>,
    connections: usize,
    /// How long one server may take to tell.
    patience: Duration,
    /// Which server is asked first; each time another one, for one may be cut off from the rest.
    turn: AtomicUsize,
}

impl Cluster {
    pub(super) const fn new(seeds: Vec<Dial>, connections: usize, patience: Duration) -> Self {
        Self {
            seeds,
            connections,
            patience,
            turn: AtomicUsize::new(0),
        }
    }

    /// What the first server to answer says: one of those in `old`, else one of the address.
    /// Connections to servers that stay are kept.
    pub(super) async fn map(&self, old: &[Arc<Shard>]) -> RedisResult<Map> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failure = uncovered();
        let in_turn = |len: usize| (0..len).map(move |n| (turn + n) % len);
        for shard in in_turn(old.len()).filter_map(|index| old.get(index)) {
            match self
                .ask(&shard.dial, shard.reads.command(&question()))
                .await
            {
                Ok(ranges) => return self.draw(&ranges, old),
                Err(error) => failure = error,
            }
        }
        for seed in in_turn(self.seeds.len()).filter_map(|index| self.seeds.get(index)) {
            match self.ask(seed, once(seed)).await {
                Ok(ranges) => return self.draw(&ranges, old),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask(
        &self,
        asked: &Dial,
        answer: impl Future<Output = RedisResult<Value>>,
    ) -> RedisResult<Vec<Range>> {
        let answer = tokio::time::timeout(self.patience, answer).await;
        let answer = answer.map_err(std::io::Error::from)??;
        let (host, _) = asked.place();
        ranges(&answer, &host).map_err(|error| std::io::Error::other(error).into())
    }

    /// The map of these ranges.
    fn draw(&self, ranges: &[Range], old: &[Arc<Shard>]) -> RedisResult<Map> {
        let mut places: Vec<Place> = Vec::new();
        let mut homes = Vec::new();
        for home in Home::all() {
            let slot = home.slot();
            let range = ranges.iter().find(|range| range.contains(slot));
            let place = &range.ok_or_else(uncovered)?.master;
            let known = places.iter().position(|known| known == place);
            homes.push(known.unwrap_or(places.len()));
            if known.is_none() {
                places.push(place.clone());
            }
        }
        let shards = places.iter().map(|place| self.shard(place, old));
        Ok(Map::of_cluster(shards.collect::<RedisResult<_>>()?, homes))
    }

    fn shard(&self, place: &Place, old: &[Arc<Shard>]) -> RedisResult<Arc<Shard>> {
        if let Some(shard) = old.iter().find(|shard| shard.dial.place() == *place) {
            return Ok(Arc::clone(shard));
        }
        let like = self.seeds.first().ok_or_else(uncovered)?;
        Ok(Arc::new(Shard::new(like.to(place)?, self.connections)))
    }
}

fn question() -> Cmd {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    question
}

/// Asks over a connection of its own.
async fn once(seed: &Dial) -> RedisResult<Value> {
    let mut connection = seed.connect().await?;
    let answer = connection.send_packed_command(&question()).await;
    answer.and_then(Value::extract_error)
}

fn uncovered() -> RedisError {
    std::io::Error::other("no server serves all slots of the cluster").into()
}
