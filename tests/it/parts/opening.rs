//! Opening a group's log and raising a fence: whole, whoever goes away meanwhile, and once, however
//! many ask for it; and where a log goes on that lost everything, or nothing.

use std::time::Duration;

use futures::future::join_all;
use qunliu::lifecycle::Stopped;
use qunliu::model::client_id::ClientId;
use qunliu::model::epoch::Row;
use qunliu::model::id::GroupId;
use qunliu::model::position::{Position, Seq};
use qunliu::store::epochs::Fence;
use qunliu::store::log::Receipt;
use tokio::time::timeout;

use super::Node;
use crate::support::logs::{DEADLINE, text, user};
use crate::support::redis::RedisServer;
use crate::support::sample::{at, entry, group, text as content};

#[tokio::test]
async fn an_opening_goes_on_when_its_caller_goes_away() {
    let (node, group) = (Node::new().await, group());
    let fence = node.fences.get(group.partition()).await.unwrap();
    node.log.open.shut();
    tokio::select! {
        done = node.reopener.reopen(group, fence.epoch) => panic!("through a shut door: {done:?}"),
        () = node.log.open.reached_by(1) => {}
    }
    // The caller is gone. Half an opening would cost the epoch: its row is there already.
    let table = node.history.table(group).await.unwrap();
    assert_eq!(table.epoch(), fence.epoch);
    node.log.open.open();
    let receipt = node.append(group, text(user(), "在吗")).await;
    assert_eq!(receipt.pos, Position::new(fence.epoch, 1));
    assert_eq!(node.log.open.callers(), 1, "nobody began again");
}

#[tokio::test]
async fn of_many_who_need_an_opening_one_opens() {
    let (node, group) = (Node::new().await, group());
    let sends = (0..20).map(|_| node.append(group, text(user(), "在吗")));
    let mut seqs: Vec<_> = join_all(sends).await.iter().map(|r| r.pos).collect();
    seqs.sort_unstable();
    let expected: Vec<_> = (1..=20).map(|seq| Position::new(1, seq)).collect();
    assert_eq!(seqs, expected);
    assert_eq!(node.log.open.callers(), 1);
    assert_eq!(node.metrics.groups_reopened.get(), 1);
}

#[tokio::test]
async fn an_opening_that_a_stop_aborts_is_unavailable() {
    let (node, group) = (Node::new().await, group());
    let fence = node.fences.get(group.partition()).await.unwrap();
    node.log.open.shut();
    let stopping = async {
        node.log.open.reached_by(1).await;
        node.tasks
            .stop(Duration::ZERO, std::future::pending())
            .await
    };
    let opening = timeout(DEADLINE, node.reopener.reopen(group, fence.epoch));
    let (done, stopped) = tokio::join!(opening, stopping);
    assert_eq!(stopped, Stopped::Aborted);
    let error = done.expect("the caller is told").unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn of_many_who_raise_a_fence_one_asks_the_store() {
    let (node, partition) = (Node::new().await, group().partition());
    let seen = node.fences.get(partition).await.unwrap();
    let before = node.epochs.raise.callers();
    node.epochs.raise.shut();
    let opening = async {
        node.epochs.raise.reached_by(before + 1).await;
        node.epochs.raise.open();
    };
    let raises = (0..20).map(|_| node.fences.raise(partition, &seen, "another"));
    let (raised, ()) = tokio::join!(join_all(raises), opening);
    let expected = Fence {
        epoch: seen.epoch + 1,
        history: "another".to_owned(),
    };
    assert!(
        raised
            .iter()
            .all(|fence| fence.as_ref().unwrap() == &expected)
    );
    assert_eq!(node.epochs.raise.callers(), before + 1);
    assert_eq!(node.metrics.epochs_raised.get(), 1);
}

#[tokio::test]
async fn a_raise_that_was_given_up_holds_up_no_other() {
    let (node, partition) = (Node::new().await, group().partition());
    let seen = node.fences.get(partition).await.unwrap();
    let before = node.epochs.raise.callers();
    node.epochs.raise.shut();
    tokio::select! {
        done = node.fences.raise(partition, &seen, "another") => panic!("through a shut door: {done:?}"),
        () = node.epochs.raise.reached_by(before + 1) => {}
    }
    node.epochs.raise.open();
    let raised = node
        .fences
        .raise(partition, &seen, "another")
        .await
        .unwrap();
    assert_eq!(raised.epoch, seen.epoch + 1);
}

/// Stores what the log of a group holds, as persisting does.
async fn store_all(node: &Node, group: GroupId) {
    let log = node.log.log.range(group, Position::START, None, 9);
    let entries = log.await.unwrap();
    let stored: Vec<_> = entries.into_iter().map(|entry| (group, entry)).collect();
    node.stores.messages.insert(&stored).await.unwrap();
}

#[tokio::test]
async fn a_log_that_lost_everything_goes_on_behind_what_is_stored_with_all_totals() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    let (group, talker) = (group(), user());
    for sender in [talker, user(), talker] {
        node.append(group, text(sender, "在吗")).await;
    }
    store_all(&node, group).await;
    node.append(group, text(talker, "没存")).await;
    node.raise(group).await;
    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    let receipt = node.append(group, text(talker, "还在吗")).await;
    assert_eq!((receipt.pos, receipt.count), (Position::new(2, 4), 4));
    let heads = node.log.log.heads(&[group], Some(talker)).await.unwrap();
    let (head, own) = heads[0].unwrap();
    assert_eq!((head.count, own), (4, Some(3)));
}

#[tokio::test]
async fn an_opening_keeps_what_the_log_holds_and_the_store_does_not_yet() {
    let Some((node, _redis)) = Node::on_redis().await else {
        return;
    };
    let (group, talker) = (group(), user());
    for _ in 1..=3 {
        node.append(group, text(talker, "在吗")).await;
    }
    node.raise(group).await;
    let receipt = node.append(group, text(talker, "还在吗")).await;
    assert_eq!((receipt.pos, receipt.count), (Position::new(2, 4), 4));
    let table = node.history.table(group).await.unwrap();
    assert!(table.is_valid(Position::new(1, 3)), "nothing was lost");
}

#[tokio::test]
async fn own_totals_that_are_lost_are_counted_from_what_the_store_and_the_log_hold() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    let (group, talker) = (group(), user());
    for _ in 1..=2 {
        node.append(group, text(talker, "在吗")).await;
    }
    store_all(&node, group).await;
    node.append(group, text(talker, "没存")).await;
    node.raise(group).await;
    let mut delete = redis::cmd("DEL");
    for (kind, rest) in [("o", ""), ("d", ":0"), ("d", ":1")] {
        delete.arg(format!("{kind}{{{}}}:{group}{rest}", group.partition()));
    }
    delete.exec_async(&mut server.raw().await).await.unwrap();
    let receipt = node.append(group, text(talker, "还在吗")).await;
    assert_eq!((receipt.pos, receipt.count), (Position::new(2, 4), 4));
    let heads = node.log.log.heads(&[group], Some(talker)).await.unwrap();
    assert_eq!(heads[0].unwrap().1, Some(4));
}

/// A group of two who took turns up to seq 2600, all stored but `hole`; everything else is lost. The
/// next message of the one with even seqs, with its own total.
async fn said_after_a_loss(node: &Node, server: &RedisServer, hole: Seq) -> (Receipt, Option<u64>) {
    let (group, odd, even) = (group(), user(), user());
    node.append(group, text(odd, "在吗")).await;
    let seqs = (1..=2600).filter(|seq| *seq != hole);
    let entries = seqs.map(|seq| {
        let sender = if seq % 2 == 0 { even } else { odd };
        (
            group,
            entry(at(1, seq), sender, ClientId::random(), content("在吗")),
        )
    });
    let entries: Vec<_> = entries.collect();
    node.stores.messages.insert(&entries).await.unwrap();
    node.raise(group).await;
    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    let receipt = node.append(group, text(even, "还在吗")).await;
    let heads = node.log.log.heads(&[group], Some(even)).await.unwrap();
    (receipt, heads[0].unwrap().1)
}

#[tokio::test]
async fn a_long_log_goes_on_behind_all_that_is_stored_or_before_its_first_hole() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    // The entries' own totals are their seqs.
    for (hole, next, own) in [(0, 2601, 2601), (2500, 2500, 2499), (1024, 1024, 1023)] {
        let (receipt, told) = said_after_a_loss(&node, &server, hole).await;
        assert_eq!(receipt.pos.seq, next, "with a hole at {hole}");
        assert_eq!(told, Some(own), "with a hole at {hole}");
    }
}

#[tokio::test]
async fn the_table_that_the_log_keeps_serves_who_names_no_newer_epoch() {
    let Some((node, _redis)) = Node::on_redis().await else {
        return;
    };
    let group = group();
    node.append(group, text(user(), "在吗")).await;
    let head = node.log.log.head(group).await.unwrap().unwrap();
    let last = node.history.table(group).await.unwrap().last();
    let (epochs, newer) = (&node.stores.epochs, Row::from((2, 2, 1)));
    assert!(epochs.add_row(group, last, newer).await.unwrap());
    for (named, known) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        let asked = node.history.table_at(group, head.pos.epoch.max(named));
        let table = asked.await.unwrap();
        assert_eq!(table.epoch(), known, "epoch {named} is named");
    }
}
