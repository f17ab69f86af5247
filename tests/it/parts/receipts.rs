//! Who is told `stored`, and when: once the watermark passes what was accepted, however the two
//! meet, and also if the signal was lost.

use std::sync::Arc;
use std::time::Duration;

use qunliu::egress::receipts::Receipts;
use qunliu::model::position::Position;
use qunliu::store::log::Receipt;
use serde_json::{Value, json};

use super::pushing::Pushing;
use crate::support::logs::AT;
use crate::support::sample::at;

/// The receipt of an event at `pos` while everything up to `stored` is stored.
const fn receipt(pos: Position, stored: Position) -> Receipt {
    Receipt {
        pos,
        message: None,
        at: AT,
        count: 0,
        stored,
    }
}

fn new_receipts(pushing: &Pushing) -> Receipts {
    let node = &pushing.node;
    Receipts::new(pushing.hub.clone(), node.log.clone(), node.metrics.clone())
}

fn stored(pushing: &Pushing, seq: u64) -> Value {
    json!({"type": "stored", "group": pushing.group, "pos": [1, seq]})
}

#[tokio::test]
async fn who_waits_is_told_until_the_watermark_has_passed() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (receipts, group) = (new_receipts(&pushing), pushing.group);
    for seq in [4, 6] {
        let under_way = receipts.under_way(group);
        under_way.accepted(&tab.socket, &receipt(at(1, seq), at(1, 3)));
    }
    tab.has_nothing().await;
    for seq in [4, 5, 5, 6, 7] {
        receipts.stored(group, at(1, seq));
    }
    for seq in [4, 5, 6] {
        assert_eq!(tab.frame().await, stored(&pushing, seq));
    }
    tab.has_nothing().await;
}

#[tokio::test]
async fn a_watermark_that_is_quicker_than_the_answer_is_not_missed() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (receipts, group) = (new_receipts(&pushing), pushing.group);
    let under_way = receipts.under_way(group);
    receipts.stored(group, at(1, 5));
    under_way.accepted(&tab.socket, &receipt(at(1, 4), at(1, 3)));
    assert_eq!(tab.frame().await, stored(&pushing, 5));
    // Or the log knew already.
    let under_way = receipts.under_way(group);
    under_way.accepted(&tab.socket, &receipt(at(1, 6), at(1, 6)));
    assert_eq!(tab.frame().await, stored(&pushing, 6));
    tab.has_nothing().await;
}

#[tokio::test]
async fn what_was_stored_before_it_was_accepted_again_is_followed_at_once() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (receipts, group) = (new_receipts(&pushing), pushing.group);
    let under_way = receipts.under_way(group);
    under_way.accepted(&tab.socket, &receipt(at(1, 8), at(1, 3)));
    receipts.stored(group, at(1, 7));
    assert_eq!(tab.frame().await, stored(&pushing, 7));
    let under_way = receipts.under_way(group);
    under_way.accepted(&tab.socket, &receipt(at(1, 5), at(1, 3)));
    assert_eq!(tab.frame().await, stored(&pushing, 7));
    receipts.stored(group, at(1, 8));
    assert_eq!(tab.frame().await, stored(&pushing, 8));
    tab.has_nothing().await;
}

#[tokio::test]
async fn a_lost_signal_is_made_up_for_by_reading_the_watermark_again() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (tasks, group) = (&pushing.node.tasks, pushing.group);
    let receipts = Arc::new(new_receipts(&pushing));
    let under_way = receipts.under_way(group);
    under_way.accepted(&tab.socket, &receipt(at(1, 2), Position::START));
    tab.has_nothing().await;
    tasks.spawn(receipts.sweep(tasks.draining().clone()));
    assert_eq!(tab.frame().await, stored(&pushing, 2));
}

#[tokio::test]
async fn a_watermark_of_an_epoch_that_was_not_told_waits_until_it_is() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (receipts, group) = (new_receipts(&pushing), pushing.group);
    let tasks = &pushing.node.tasks;
    pushing.node.raise(group).await;
    pushing.say().await;
    let receipts = Arc::new(receipts);
    let under_way = receipts.under_way(group);
    under_way.accepted(&tab.socket, &receipt(at(2, 3), at(2, 3)));
    receipts.stored(group, at(2, 3));
    tab.has_nothing().await;
    pushing.run_the_tail();
    tasks.spawn(receipts.sweep(tasks.draining().clone()));
    let mut told = Vec::new();
    while told.last() != Some(&json!("stored")) {
        told.push(tab.frame().await["type"].clone());
    }
    assert_eq!(told, ["epoch", "events", "stored"]);
}

/// Who asks over REST is told of no epoch, and cannot judge by it.
#[tokio::test]
async fn a_watermark_of_a_later_epoch_settles_what_that_epoch_kept_and_nothing_else() {
    let pushing = Pushing::new().await;
    let (receipts, group) = (new_receipts(&pushing), pushing.group);
    let node = &pushing.node;
    pushing.say().await;
    node.raise(group).await;
    pushing.say().await;
    for (accepted, is_settled) in [(at(1, 3), true), (at(1, 4), false), (at(2, 4), true)] {
        let under_way = receipts.under_way(group);
        let receipt = receipt(accepted, at(2, 4));
        let stored = under_way.until_stored(&receipt, Duration::ZERO).await;
        assert_eq!(stored, Some(at(2, 4)));
        let settled = node.history.is_settled(group, accepted, at(2, 4)).await;
        assert_eq!(settled.unwrap(), is_settled, "{accepted}");
    }
    let under_way = receipts.under_way(group);
    let receipt = receipt(at(2, 5), at(2, 4));
    assert_eq!(under_way.until_stored(&receipt, Duration::ZERO).await, None);
}
