//! Three nodes that share real stores: a node dies, Redis dies, MongoDB hangs, a node hangs.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Evidence, IN_FLIGHT_MIN, size, sum, talking, turn};
use crate::support::load::{Load, Size, of};
use crate::support::node::{House, Node};
use crate::support::process::{Signal, wait_for};
use crate::support::server::Person;
use crate::support::services::{Service, Services};

const RETRIES: &str = "qunliu_consumer_retries_total";
const OLDEST: &str = "qunliu_consumer_oldest_event_timestamp_seconds";

/// Three nodes on stores of their own.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    pub(super) house: House,
    pub(super) services: Services,
}

impl Cluster {
    pub(super) async fn start() -> Option<Self> {
        let services = Services::start()?;
        let environment = services.environment();
        Self::on(services, environment).await
    }

    /// With the Redis at this address instead of that of the services.
    pub(super) async fn on_redis(services: Services, url: String) -> Option<Self> {
        let mut environment = services.environment();
        environment.retain(|(name, _)| name != "QUNLIU_STORES_REDIS");
        environment.push(("QUNLIU_STORES_REDIS".to_owned(), url));
        Self::on(services, environment).await
    }

    /// With this environment instead of that of the services.
    async fn on(services: Services, environment: Vec<(String, String)>) -> Option<Self> {
        let house = House::new(environment);
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

    /// Waits until operators see on every node that so many stores answer, and of all nodes
    /// whether an event waits to be handled.
    async fn shows(&self, ready: f64, oldest: impl Fn(f64) -> bool) {
        wait_for(
            "metrics tell which stores answer, and what waits",
            async || {
                let mut waiting = 0.0;
                for node in &self.nodes {
                    if node.metric("qunliu_store_ready").await != ready {
                        return None;
                    }
                    waiting += node.metric(OLDEST).await;
                }
                oldest(waiting).then_some(())
            },
        )
        .await;
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
    cluster.nodes[0].misses(&["messages"]).await;
    cluster.shows(2.0, |oldest| oldest > 0.0).await;
    cluster.services.resume(Service::MongoDb);
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    Evidence {
        fault: "MongoDB hangs for 10 s",
        in_flight,
        taken_again,
    }
    .tell(&counts);
    cluster.nodes[0].misses(&[]).await;
    cluster.shows(3.0, |oldest| oldest == 0.0).await;
}

/// What says at which head it was first tried is in the log without MongoDB; of what does not, only
/// MongoDB knows whether it is new.
#[tokio::test]
async fn sends_by_rest_are_accepted_or_put_off_while_mongodb_hangs() {
    let _turn = turn().await;
    let Some(services) = Services::start() else {
        return;
    };
    let house = House::new(services.environment());
    let node = house.start("node").await;
    let owner = Person::register(node.address(), "li.lei").await;
    let client = &owner.client;
    let path = format!("{}/messages", owner.found("老街面馆", &[]).await);
    let message = |words: &str, again: &Value| {
        let body = json!({"kind": "text", "text": words});
        json!({"client_id": Uuid::new_v4(), "body": body, "again": again})
    };
    let hello = client
        .post(&path, &message("在吗", &Value::Null))
        .await
        .sent();

    let (placed, unplaced) = (
        message("几点开门?", &hello["pos"]),
        message("明天呢?", &Value::Null),
    );
    services.pause(Service::MongoDb);
    let accepted = client.post(&path, &placed).await;
    let put_off = client.post(&path, &unplaced).await;
    services.resume(Service::MongoDb);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.sent()["receipt"], "accepted");
    put_off.problem(503, "busy");
    assert_eq!(put_off.header("retry-after"), "1");

    let pos = |seq: u64| json!([hello["pos"][0], hello["pos"][1].as_u64().unwrap() + seq]);
    let stored = async |message: &Value| {
        let sent = client.post(&path, message).await;
        let told = sent.body();
        (told["receipt"] == "stored").then(|| (sent.status, told["pos"].clone()))
    };
    let placed = wait_for("the accepted one is stored", async || stored(&placed).await);
    assert_eq!(placed.await, (200, pos(1)));
    let unplaced = wait_for("the other is stored", async || stored(&unplaced).await);
    assert_eq!(unplaced.await.1, pos(2));
}

/// Nobody's session can be seen to go on while PostgreSQL hangs: sends are put off, pushes wait,
/// and no socket is closed for it.
#[tokio::test]
async fn a_postgresql_that_hangs_loses_nothing_and_closes_no_socket() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let mut load = talking(&cluster.house, &cluster.nodes, &size()).await;
    let closed = sum(&cluster.nodes, "qunliu_sockets_closed_total").await;
    cluster.services.pause(Service::Postgres);
    // The length of the fault, not a wait for anything.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    cluster.nodes[0].misses(&["directory"]).await;
    cluster.services.resume(Service::Postgres);
    let counts = load.passed().await;
    let taken_again = sum(&cluster.nodes, RETRIES).await;
    Evidence {
        fault: "PostgreSQL hangs for 6 s",
        in_flight,
        taken_again,
    }
    .tell(&counts);
    assert_eq!(of(&counts, "reconnects"), 0);
    assert_eq!(
        sum(&cluster.nodes, "qunliu_sockets_closed_total").await,
        closed
    );
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
