//! What must hold when a master of Redis dies and another server takes its place without a hand.

use super::services::Cluster;
use super::{Evidence, IN_FLIGHT_MIN, size, sum, talking, turn};
use crate::support::cluster::RedisCluster;
use crate::support::redis::RedisServer;
use crate::support::sentinels::Sentinels;
use crate::support::services::Services;

#[tokio::test]
async fn a_killed_master_that_sentinels_replace_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(services) = Services::start() else {
        return;
    };
    let mut master = RedisServer::start().await.unwrap();
    let replica = RedisServer::start().await.unwrap();
    replica.follow(&master).await;
    let sentinels = Sentinels::over(&master, 1).await;
    let cluster = Cluster::on_redis(services, sentinels.url()).await.unwrap();
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    master.pause();
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    master.kill();
    sentinels.promoted(replica.port()).await;
    // The old master is in nobody's way when it is back.
    master.run().await;
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, "qunliu_consumer_retries_total").await;
    Evidence {
        fault: "sentinels replace a killed master",
        in_flight,
        taken_again,
    }
    .tell(&counts);
    let raised = sum(&cluster.nodes, "qunliu_epochs_raised_total").await;
    assert!(raised > 0, "a promoted replica is another history");
}

#[tokio::test]
async fn a_killed_master_of_a_cluster_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(services) = Services::start() else {
        return;
    };
    let mut redis = RedisCluster::with_replicas().await.unwrap();
    let cluster = Cluster::on_redis(services, redis.url()).await.unwrap();
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    // All masters hang for a moment, so that enough is in flight before the replica notices.
    let masters = 0..3;
    masters
        .clone()
        .for_each(|index| redis.servers[index].pause());
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    redis.servers[1].kill();
    masters
        .filter(|index| *index != 1)
        .for_each(|index| redis.servers[index].resume());
    redis.promoted(1).await;
    // The old master is in nobody's way when it is back.
    redis.servers[1].run().await;
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, "qunliu_consumer_retries_total").await;
    Evidence {
        fault: "a cluster replaces a killed master",
        in_flight,
        taken_again,
    }
    .tell(&counts);
    let raised = sum(&cluster.nodes, "qunliu_epochs_raised_total").await;
    assert!(raised > 0, "a promoted replica is another history");
}
