//! What must hold when a store comes back with less than it had (epochs.md): everyone ends with
//! the same log and was told where it was cut, no position shows two messages, what was said to be
//! stored and MongoDB has is there, unread counts equal a recount, and lost changes of members
//! stand in the log again.
//!
//! MongoDB hangs (SIGSTOP) before each loss in Redis, so that many events are accepted and not
//! stored: these are what is lost. Their senders say them again, under the same `client_id`.

use redis::aio::MultiplexedConnection;
use redis::cmd;

use super::services::Cluster;
use super::{Evidence, IN_FLIGHT_MIN, seed, sum, talking, turn};
use crate::support::forwarder::Forwarder;
use crate::support::load::{Load, Size, of};
use crate::support::redis::{RedisServer, url};
use crate::support::services::{Service, Services};

/// Less than other faults are met with: nearly everything is said twice.
fn size() -> Size {
    Size {
        users: 40,
        groups: 20,
        rate: 40,
        seconds: 15,
        seed: seed(),
    }
}

/// Nodes with clients that talk, and sends that only Redis has.
struct Loss {
    cluster: Cluster,
    load: Load,
    /// How many sends only Redis has.
    at_risk: u64,
}

impl Loss {
    async fn looms() -> Option<Self> {
        let cluster = Cluster::start().await?;
        let load = talking(&cluster.house, &cluster.nodes, &size()).await;
        Some(Self::looms_in(cluster, load).await)
    }

    async fn looms_in(cluster: Cluster, mut load: Load) -> Self {
        cluster.services.pause(Service::MongoDb);
        let at_risk = load.unsettled(IN_FLIGHT_MIN).await;
        Self {
            cluster,
            load,
            at_risk,
        }
    }

    /// MongoDB answers again, and everything must come right.
    async fn mends(self, fault: &'static str) {
        self.cluster.services.resume(Service::MongoDb);
        let counts = self.load.passed().await;
        let taken_again = sum(&self.cluster.nodes, "qunliu_consumer_retries_total").await;
        Evidence {
            fault,
            in_flight: self.at_risk,
            taken_again,
        }
        .tell(&counts);
        assert!(of(&counts, "again") > 0, "what was lost is said again");
        assert!(of(&counts, "epochs told") > 0, "clients are told");
        let raised = sum(&self.cluster.nodes, "qunliu_epochs_raised_total").await;
        assert!(raised > 0, "a loss is another epoch");
    }
}

/// Deletes the keys of groups whose names begin so.
async fn delete(redis: &mut MultiplexedConnection, kinds: &[&str]) {
    for kind in kinds {
        let mut keys = cmd("KEYS");
        let keys = keys.arg(format!("{kind}{{*")).query_async(redis).await;
        let keys: Vec<String> = keys.unwrap();
        assert!(!keys.is_empty(), "no key begins with {kind}");
        cmd("DEL").arg(&keys).exec_async(redis).await.unwrap();
    }
}

#[tokio::test]
async fn an_emptied_redis_is_mended() {
    let _turn = turn().await;
    let Some(loss) = Loss::looms().await else {
        return;
    };
    let mut redis = loss.cluster.services.redis().await;
    cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    loss.mends("FLUSHALL").await;
}

#[tokio::test]
async fn deleted_streams_are_mended() {
    let _turn = turn().await;
    let Some(loss) = Loss::looms().await else {
        return;
    };
    delete(&mut loss.cluster.services.redis().await, &["s"]).await;
    loss.mends("DEL of the streams").await;
}

#[tokio::test]
async fn deleted_streams_heads_and_memories_are_mended() {
    let _turn = turn().await;
    let Some(loss) = Loss::looms().await else {
        return;
    };
    delete(&mut loss.cluster.services.redis().await, &["s", "h", "d"]).await;
    loss.mends("DEL of streams, heads and memories").await;
}

#[tokio::test]
async fn a_redis_put_back_to_an_older_state_is_mended() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let load = talking(&cluster.house, &cluster.nodes, &size()).await;
    cluster.services.pause(Service::Redis);
    cluster.services.copy(Service::Redis);
    cluster.services.resume(Service::Redis);
    let loss = Loss::looms_in(cluster, load).await;
    let services = &loss.cluster.services;
    services.kill(Service::Redis);
    services.put_back(Service::Redis);
    services.up(Service::Redis);
    loss.mends("Redis put back to an older state").await;
}

/// Two Redis servers behind one address, which leads to the first.
struct Pair {
    one: RedisServer,
    other: RedisServer,
    address: Forwarder,
}

impl Pair {
    /// With nodes on the address.
    async fn start() -> Option<(Self, Cluster)> {
        let services = Services::start()?;
        let (one, other) = (RedisServer::start().await?, RedisServer::start().await?);
        let address = Forwarder::to(one.port()).await;
        let cluster = Cluster::on_redis(services, url(address.port())).await?;
        let pair = Self {
            one,
            other,
            address,
        };
        Some((pair, cluster))
    }
}

async fn promote(server: &RedisServer) {
    replica_of(server, ["NO", "ONE"]).await;
}

/// A replica that hears nothing of its master any more.
async fn cut_off(server: &RedisServer) {
    replica_of(server, ["127.0.0.1", "1"]).await;
}

async fn replica_of(server: &RedisServer, master: [&str; 2]) {
    let mut command = cmd("REPLICAOF");
    let command = command.arg(&master);
    command.exec_async(&mut server.raw().await).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_lagged_and_was_promoted_is_mended() {
    let _turn = turn().await;
    let Some((mut pair, cluster)) = Pair::start().await else {
        return;
    };
    pair.other.follow(&pair.one).await;
    let load = talking(&cluster.house, &cluster.nodes, &size()).await;
    cut_off(&pair.other).await;
    let loss = Loss::looms_in(cluster, load).await;
    pair.one.kill();
    promote(&pair.other).await;
    pair.address.switch(pair.other.port());
    loss.mends("a lagging replica is promoted").await;
}

#[tokio::test]
async fn a_master_that_was_demoted_and_promoted_again_is_mended() {
    let _turn = turn().await;
    let Some((mut pair, cluster)) = Pair::start().await else {
        return;
    };
    pair.other.follow(&pair.one).await;
    let load = talking(&cluster.house, &cluster.nodes, &size()).await;
    promote(&pair.other).await;
    pair.address.switch(pair.other.port());
    pair.one.follow(&pair.other).await;
    cut_off(&pair.one).await;
    let loss = Loss::looms_in(cluster, load).await;
    pair.other.kill();
    promote(&pair.one).await;
    pair.address.switch(pair.one.port());
    loss.mends("a demoted master is promoted again").await;
}
