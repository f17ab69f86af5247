//! Very many who log in at once: who chats does not notice, and the memory of the node is bounded.

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::node::{House, Node};
use crate::support::place::Place;
use crate::support::scene::found;
use crate::support::server::{Client, PASSWORD, Person};
use crate::support::socket::{Socket, text};

flow!(a_hundred_log_ins_at_once_leave_the_chat_usable);

const LOG_INS: usize = 100;

/// An answer is promised within a second, be it to come back; the rest is for a loaded machine.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(10);

/// What the node may take beyond what it had, in MiB: two hashes of 19 at once, and what a hundred
/// connections hold. All hashes at once would take 1900.
const GROWTH_MIB_MAX: u64 = 256;

async fn a_hundred_log_ins_at_once_leave_the_chat_usable(place: Place) {
    let house = House::new(place.environment_of(Path::new("unused")));
    let node = house.start("node").await;
    let owner = Person::register(node.address(), "li.lei").await;
    let group = found(&owner, "一群", &[]).await;
    let mut socket = Socket::hello_at(node.address(), &owner, "web-1", &json!({})).await;
    socket.wait("welcome").await;
    let before = peak_mib(&node);

    let client = Client::of(node.address());
    let log_in = json!({"name": "li.lei", "password": PASSWORD});
    let is_over = Cell::new(false);
    let storm = async {
        let log_ins = (0..LOG_INS).map(|_| client.post("/v1/auth/login", &log_in));
        let answers = join_all(log_ins).await;
        is_over.set(true);
        answers
    };
    let chat = async {
        let mut sent = 0;
        while !is_over.get() {
            let (asked, frame) = (Instant::now(), text(&group, "在吗"));
            while let Some(pause) = put_off(&socket.ask(&frame).await) {
                tokio::time::sleep(pause).await;
            }
            assert!(asked.elapsed() < ACCEPTED_WITHIN, "{:?}", asked.elapsed());
            sent += 1;
        }
        sent
    };
    let (answers, sent) = tokio::join!(storm, chat);
    assert!(sent > 1, "the chat went on meanwhile");
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(let_in > 0);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.problem(503, "busy");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let growth = peak_mib(&node) - before;
    assert!(growth < GROWTH_MIB_MAX, "it took {growth} MiB more");
}

/// For how long a message was put off, if it was not accepted.
fn put_off(answer: &Value) -> Option<Duration> {
    if answer["type"] == "accepted" {
        return None;
    }
    let passes = ["busy", "internal"].map(Value::from);
    assert!(passes.contains(&answer["code"]), "{answer}");
    answer["retry_after_ms"].as_u64().map(Duration::from_millis)
}

/// The most memory that the node ever had, in MiB.
fn peak_mib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<u64>().unwrap() / 1024
}
