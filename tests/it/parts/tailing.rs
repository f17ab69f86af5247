//! From the log to the sockets: without a hole, also where the live log was trimmed, not beyond the
//! end of a membership, and from its beginning.

use std::collections::HashMap;
use std::time::Duration;

use qunliu::model::position::Position;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Node;
use super::pushing::{Pushing, positions};
use crate::support::sample::at;

#[tokio::test]
async fn where_the_log_was_trimmed_the_tail_fills_in_from_the_store() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    let pushing = Pushing::on(node).await;
    let mut tab = pushing.welcomed("web-1").await;
    for _ in 3..=6 {
        pushing.say().await;
    }
    // Everything is stored, and the log lets go of the older half.
    let (node, group) = (&pushing.node, pushing.group);
    let log = node.log.log.range(group, Position::START, None, 9);
    let entries = log.await.unwrap();
    let stored: Vec<_> = entries.into_iter().map(|entry| (group, entry)).collect();
    node.stores.messages.insert(&stored).await.unwrap();
    let trimmed: u64 = redis::cmd("XTRIM")
        .arg(format!("s{{{}}}:{group}", group.partition()))
        .arg(&["MINID", "=", "1-5"])
        .query_async(&mut server.raw().await)
        .await
        .unwrap();
    assert_eq!(trimmed, 4);
    pushing.run_the_tail();
    let mut pushed: Vec<Value> = Vec::new();
    while pushed.last() != Some(&json!([1, 6])) {
        pushed.extend(positions(&tab.frame().await));
    }
    let dense: Vec<_> = (3..=6).map(|seq| json!([1, seq])).collect();
    assert_eq!(pushed, dense);
}

#[tokio::test]
async fn what_follows_a_removal_in_the_same_piece_is_not_pushed_to_the_removed() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    pushing.say().await;
    pushing.remove_the_member().await;
    pushing.say().await;
    // The tail reads all three at once.
    pushing.run_the_tail();
    let mut pushed: Vec<Value> = Vec::new();
    loop {
        let frame = tab.frame().await;
        if frame["type"] == "gone" {
            break;
        }
        pushed.extend(positions(&frame));
    }
    assert_eq!(pushed, [json!([1, 3]), json!([1, 4])]);
    tab.has_nothing().await;
}

#[tokio::test]
async fn who_was_added_again_before_the_removal_was_pushed_hears_again() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    pushing.remove_the_member().await;
    pushing.add(pushing.member).await;
    // The signal of the new membership comes first: the socket listens still, and is told nothing.
    pushing.read_elsewhere(at(1, 2)).await;
    assert_eq!(tab.frame().await["type"], "heads");
    pushing.run_the_tail();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&json!("joined")) {
        kinds.push(tab.frame().await["type"].clone());
    }
    assert_eq!(kinds, [json!("events"), json!("gone"), json!("joined")]);
    pushing.say().await;
    assert_eq!(positions(&tab.frame().await), [json!([1, 5])]);
}

#[tokio::test]
async fn who_arrives_before_the_own_joining_was_pushed_waits_for_it() {
    let pushing = Pushing::new().await;
    let _listens = pushing.welcomed("web-1").await;
    pushing.say().await;
    let newcomer = pushing.register("lucy").await;
    pushing.add(newcomer).await;
    let tab = pushing.entered(newcomer, "web-1").await;
    let nothing = HashMap::new();
    let mut arrival = Box::pin(pushing.attach.arrive(&tab.socket, &nothing));
    // Frames are shared by all: at the head of the others it would be sent what is not for it.
    let early = timeout(Duration::from_millis(50), &mut arrival).await;
    assert!(early.is_err(), "the tail has not come that far");
    pushing.run_the_tail();
    let (_, arrival) = arrival.await.unwrap();
    assert_eq!(arrival.groups[0].state.unwrap().head, at(1, 4));
}
