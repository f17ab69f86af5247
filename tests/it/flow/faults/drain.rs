//! A polite end: SIGTERM drains, and a second one ends what does not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::turn;
use crate::support::load::{Load, Size, of};
use crate::support::node::{House, Node};
use crate::support::process::{Signal, wait_for};

/// Exit codes (`qunliu serve`): after a drain, and after an end that was none.
const DRAINED: i32 = 0;
const FAULT: i32 = 70;

#[tokio::test]
async fn a_drained_node_tells_its_clients_and_ends_well() {
    let _turn = turn().await;
    let house = House::new(Vec::new());
    let mut nodes = vec![house.start("only").await];
    let size = Size {
        users: 20,
        groups: 10,
        rate: 40,
        seconds: 6,
        seed: super::seed(),
    };
    let mut load = Load::start(&house, &nodes, &size);
    load.sent(60).await;
    nodes[0].signal(Signal::Terminate);
    assert_eq!(nodes[0].ended().await.code(), Some(DRAINED));
    nodes[0].start_again(&house).await;
    let counts = load.passed().await;
    assert_eq!(of(&counts, "reconnects"), 20, "each client comes back");
    assert_eq!(of(&counts, "told to go away"), 20, "each client was told");
}

#[tokio::test]
async fn a_second_signal_ends_what_does_not_drain() {
    let _turn = turn().await;
    let house = House::new(Vec::new());
    let mut node = house.start("only").await;
    let _stuck = half_a_request(&node);
    node.signal(Signal::Terminate);
    wait_for("the node drains", async || is_draining(&node).then_some(())).await;
    node.signal(Signal::Terminate);
    assert_eq!(node.ended().await.code(), Some(FAULT));
}

/// A request whose body is asked for and does not come: the node waits for it while it drains.
fn half_a_request(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.url.trim_start_matches("http://")).unwrap();
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

/// A draining node takes no more connections.
fn is_draining(node: &Node) -> bool {
    TcpStream::connect(node.url.trim_start_matches("http://")).is_err()
}
