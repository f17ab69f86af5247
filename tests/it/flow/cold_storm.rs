//! All come at once and Redis knows none of them, as after a restart of everything: they are let
//! in at a rate, each is told when to come back, and who was here before does not wait for them.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::support::eventually;
use crate::support::load::{Load, Size};
use crate::support::node::House;
use crate::support::place::Place;
use crate::support::postgres::Locked;
use crate::support::server::{Person, TestServer};
use crate::support::socket::{DEADLINE, Socket};

flow!(
    both: [],
    embedded: [],
    services: [
        cold_clients_come_in_a_few_at_once_and_warm_ones_do_not_wait,
        clients_that_are_told_to_come_back_do_so_and_miss_nothing,
    ],
);

/// The bounds of these servers: so many at once, so many a second.
const AT_ONCE: usize = 2;
const BOUNDS: [(&str, &str); 2] = [
    ("QUNLIU_EGRESS_COLD_ARRIVALS_MAX", "2"),
    ("QUNLIU_EGRESS_COLD_ARRIVALS_PER_SECOND", "4"),
];

/// People who come at once.
const STORM: usize = 12;

/// Tries to come in: the open socket, or when to come back.
async fn arrive(server: &TestServer, person: &Person) -> Result<Socket, Duration> {
    let mut socket = Socket::hello(server, person, "web-1", &json!({})).await;
    let told = socket
        .take(|frame| frame["type"] == "welcome" || frame["type"] == "error")
        .await;
    if told["type"] == "welcome" {
        return Ok(socket);
    }
    assert_eq!(told["code"], "busy", "{told}");
    assert_eq!(socket.closed().await, 1012);
    Err(Duration::from_millis(
        told["retry_after_ms"].as_u64().unwrap(),
    ))
}

/// Comes in as a client does: when it is told to.
async fn come(server: &TestServer, person: &Person) -> Socket {
    loop {
        match arrive(server, person).await {
            Ok(socket) => return socket,
            Err(later) => tokio::time::sleep(later).await,
        }
    }
}

/// Cold arrivals until now: those admitted, and those told to come back.
async fn counted(server: &TestServer) -> (usize, usize) {
    let page = server.operator().get("/metrics").await.text;
    let count = |result: &str| {
        let line = format!("qunliu_cold_arrivals_total{{result=\"{result}\"}} ");
        let value = page.lines().find_map(|found| found.strip_prefix(&line));
        value.unwrap().parse().unwrap()
    };
    (count("admitted"), count("refused"))
}

async fn cold_clients_come_in_a_few_at_once_and_warm_ones_do_not_wait(place: Place) {
    let server = place.serve(&BOUNDS).await;
    let owner = server.register("li.lei").await;
    let mut people = Vec::new();
    for number in 0..STORM {
        people.push(server.register(&format!("guest{number}")).await);
    }
    owner
        .found("老街面馆 1 群", &people.iter().collect::<Vec<_>>())
        .await;
    drop(come(&server, &owner).await);
    assert_eq!(counted(&server).await, (1, 0));

    let locked = Locked::tables(&place, &["groups", "members"]).await;
    let storm = join_all(people.iter().map(|person| come(&server, person)));
    let meanwhile = async {
        // All came; none of those that wait for a table was given up yet.
        eventually(DEADLINE, async || counted(&server).await.1 > STORM).await;
        assert_eq!(
            counted(&server).await.0,
            1 + AT_ONCE,
            "these are still under way"
        );
        drop(
            arrive(&server, &owner)
                .await
                .expect("who was here before does not wait"),
        );
        locked.release().await;
    };
    let (welcomed, ()) = tokio::join!(storm, meanwhile);
    assert_eq!(welcomed.len(), STORM);
    assert_eq!(
        counted(&server).await.0,
        1 + STORM,
        "each was admitted once"
    );
}

async fn clients_that_are_told_to_come_back_do_so_and_miss_nothing(place: Place) {
    let mut environment = place.environment_of(Path::new("unused"));
    environment.extend(BOUNDS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let house = House::new(environment);
    let nodes = [house.start("only").await];
    let size = Size {
        users: 16,
        groups: 4,
        rate: 20,
        seconds: 4,
        seed: 1,
    };
    Load::start(&house, &nodes, &size).passed().await;
    let refused = "qunliu_cold_arrivals_total{result=\"refused\"}";
    assert!(nodes[0].metric(refused).await > 0.0, "there was no storm");
}
