//! Three nodes that share real stores: a node dies, Redis dies, MongoDB hangs, a node hangs.

use std::time::Duration;

use super::{Evidence, IN_FLIGHT_MIN, size, sum, talking, turn};
use crate::support::load::{Load, Size};
use crate::support::node::{House, Node};
use crate::support::process::{Signal, wait_for};
use crate::support::services::{Service, Services};

const RETRIES: &str = "qunliu_consumer_retries_total";

/// Three nodes on stores of their own.
struct Cluster {
    nodes: Vec<Node>,
    house: House,
    services: Services,
}

impl Cluster {
    async fn start() -> Option<Self> {
        let services = Services::start()?;
        let house = House::new(services.environment());
        let mut nodes = Vec::new();
        for name in ["one", "two", "three"] {
            nodes.push(house.start(name).await);
        }
        Some(Self {
            nodes,
            house,
            services,
        })
    }
}

#[tokio::test]
async fn clients_of_three_nodes_hear_each_other() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let size = Size {
        seconds: 4,
        ..size()
    };
    let load = Load::start(&cluster.house, &cluster.nodes, &size);
    load.passed().await;
}

#[tokio::test]
async fn a_killed_node_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(mut cluster) = Cluster::start().await else {
        return;
    };
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    // Clients are dealt evenly: a third of the sends is in flight on the node that dies.
    cluster.services.pause(Service::Redis);
    let in_flight = load.unanswered(2 * IN_FLIGHT_MIN).await;
    cluster.nodes[1].kill().await;
    cluster.services.resume(Service::Redis);
    wait_for("its clients are elsewhere", async || {
        (load.counts().get("live") == Some(&60)).then_some(())
    })
    .await;
    cluster.nodes[1].start_again(&cluster.house).await;
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    Evidence {
        fault: "kill -9 of a node",
        in_flight,
        taken_again,
    }
    .tell(&counts);
}

#[tokio::test]
async fn a_killed_redis_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    cluster.services.pause(Service::Redis);
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    cluster.services.resume_and_kill(Service::Redis);
    cluster.services.up(Service::Redis);
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    let raised = sum(&cluster.nodes, "qunliu_epochs_raised_total").await;
    Evidence {
        fault: "kill -9 of Redis",
        in_flight,
        taken_again,
    }
    .tell(&counts);
    assert!(raised > 0, "a restart of Redis is another history");
}

#[tokio::test]
async fn a_mongodb_that_hangs_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    cluster.services.pause(Service::MongoDb);
    // The length of the fault, not a wait for anything.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let in_flight = load.unsettled(IN_FLIGHT_MIN).await;
    cluster.services.resume(Service::MongoDb);
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    Evidence {
        fault: "MongoDB hangs for 10 s",
        in_flight,
        taken_again,
    }
    .tell(&counts);
}

#[tokio::test]
async fn a_node_that_hangs_and_comes_back_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    cluster.nodes[2].signal(Signal::Stop);
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    // Twice as long as its leases last: others do its work before it comes back.
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.nodes[2].signal(Signal::Continue);
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    Evidence {
        fault: "a node hangs for 20 s",
        in_flight,
        taken_again,
    }
    .tell(&counts);
}
