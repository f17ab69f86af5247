//! What an append answers while the log or the epoch is in doubt: tried again for a while, then
//! an unknown outcome; `busy` only where nothing was written.

use std::time::Duration;

use qunliu::error::Error;
use qunliu::model::event::Fixed;
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::pipeline::append::{Attempt, Placed, Request};
use qunliu::protocol::code::ErrorCode;
use qunliu::store::epochs::Fence;
use qunliu::store::log::{Append, OnMiss};

use super::{Node, first};
use crate::support::logs::{appended, text, user};
use crate::support::sample::group;

/// A node with a group that has one event.
async fn node_with_group() -> (Node, GroupId) {
    let (node, group) = (Node::new().await, group());
    node.append(group, text(user(), "在吗")).await;
    (node, group)
}

async fn refused(node: &Node, group: GroupId, fixed: &Fixed) -> Error {
    match node.appender.append(&first(group, fixed.clone())).await {
        Err(error) => error,
        Ok(placed) => panic!("expected a refusal, got {placed:?}"),
    }
}

/// An append that runs out of patience once `waits` says where it stands. From there on time is
/// let run without waiting: no store is asked any more. It is left so.
async fn given_up(node: &Node, group: GroupId, fixed: &Fixed, waits: impl Future) -> Error {
    let skipping = async {
        waits.await;
        tokio::time::pause();
    };
    let (error, ()) = tokio::join!(refused(node, group, fixed), skipping);
    error
}

#[tokio::test]
async fn a_silent_log_leaves_the_outcome_unknown_and_makes_others_busy() {
    let (node, group) = node_with_group().await;
    let fixed = text(user(), "有人吗");
    let door = &node.log.append;
    let before = door.callers();
    door.shut();
    let error = given_up(&node, group, &fixed, door.reached_by(before + 1)).await;
    assert_eq!(error.code, ErrorCode::Internal, "it may be carried out yet");
    assert_eq!(
        error.retry_after_ms,
        Some(500),
        "the same may be sent again"
    );
    let busy = refused(&node, group, &fixed).await;
    tokio::time::resume();
    assert_eq!(busy.code, ErrorCode::Busy, "{busy}");
    assert_eq!(busy.retry_after_ms, Some(500));
    assert_eq!(door.callers(), before + 1, "nothing was sent to the log");
    door.open();
    let tried_again = async {
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(250)).await;
        tokio::time::resume();
        node.append(group, fixed.clone()).await
    };
    assert_eq!(tried_again.await.pos, Position::new(1, 2));
    node.append(group, text(user(), "在")).await;
}

#[tokio::test]
async fn a_group_that_is_being_opened_makes_no_other_busy() {
    let (node, open) = node_with_group().await;
    let opening = group();
    node.log.open.shut();
    let fixed = text(user(), "有人吗");
    let waits = node.log.open.reached_by(2);
    let error = given_up(&node, opening, &fixed, waits).await;
    tokio::time::resume();
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    let receipt = node.append(open, text(user(), "在")).await;
    assert_eq!(receipt.pos, Position::new(1, 2));
    node.log.open.open();
    let receipt = node.append(opening, fixed).await;
    assert_eq!(receipt.pos, Position::new(1, 1));
}

#[tokio::test]
async fn after_a_call_without_an_answer_the_outcome_stays_unknown() {
    let (node, opening) = (Node::new().await, group());
    node.log.append.turn_one_away();
    node.log.open.shut();
    let waits = node.log.open.reached_by(1);
    let error = given_up(&node, opening, &text(user(), "有人吗"), waits).await;
    tokio::time::resume();
    assert_eq!(error.code, ErrorCode::Internal, "{error}");
}

#[tokio::test]
async fn a_send_whose_answer_was_lost_stands_once() {
    let (node, group) = node_with_group().await;
    let fence = node.fences.get(group.partition()).await.unwrap();
    let request = Request {
        attempt: Attempt::First { told: fence.epoch },
        ..first(group, text(user(), "有人吗"))
    };
    // It reached the log, and nobody heard of it.
    let append = Append {
        draft: request.draft.clone(),
        history: fence.history,
        epoch: fence.epoch,
        rights: None,
        on_miss: OnMiss::Append,
        replace: None,
        trace: None,
    };
    let receipt = appended(node.stores.log.append(append).await.unwrap());
    let again = node.appender.append(&request).await.unwrap();
    assert!(
        matches!(again, Placed::Repeat(repeat) if repeat.pos == receipt.pos),
        "{again:?}"
    );
}

#[tokio::test]
async fn after_a_failed_call_the_message_store_is_asked_too() {
    let (node, group) = node_with_group().await;
    let asked = || node.metrics.appends.with_label_values(&["ask_store"]).get();
    // A first try in an epoch that was told needs no store: nobody can have sent it before.
    let request = Request {
        attempt: Attempt::First { told: 1 },
        ..first(group, text(user(), "有人吗"))
    };
    let before = asked();
    node.appender.append(&request).await.unwrap();
    assert_eq!(asked(), before);
    // But a call that failed may have taken effect in a log that is lost since.
    node.log.append.turn_one_away();
    let request = Request {
        draft: first(group, text(user(), "在")).draft,
        ..request
    };
    let placed = node.appender.append(&request).await.unwrap();
    assert!(matches!(placed, Placed::New(_)), "{placed:?}");
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn a_first_try_by_who_was_told_an_older_epoch_is_looked_up_in_the_store() {
    let (node, group) = node_with_group().await;
    let fence = node.raise(group).await;
    let request = Request {
        attempt: Attempt::First {
            told: fence.epoch - 1,
        },
        ..first(group, text(user(), "有人吗"))
    };
    let asked = || node.metrics.appends.with_label_values(&["ask_store"]).get();
    let before = asked();
    let placed = node.appender.append(&request).await.unwrap();
    assert!(matches!(placed, Placed::New(_)), "{placed:?}");
    assert_eq!(asked(), before + 1);
}

#[tokio::test]
async fn a_node_that_missed_an_epoch_appends_under_it() {
    let (node, group) = node_with_group().await;
    let partition = group.partition();
    let seen = node.fences.get(partition).await.unwrap();
    // Another node raised the fence and opened another group of the partition.
    let next = Fence {
        epoch: seen.epoch + 1,
        ..seen.clone()
    };
    let epochs = &node.stores.epochs;
    epochs.raise(partition, Some(&seen), &next).await.unwrap();
    let log = &node.stores.log;
    log.prepare(group, &next.history, next.epoch).await.unwrap();
    let receipt = node.append(group, text(user(), "在")).await;
    assert_eq!(receipt.pos, Position::new(2, 2));
    assert_eq!(node.fences.get(partition).await.unwrap(), next);
}

#[tokio::test]
async fn a_fence_of_another_history_is_raised_before_anything_is_appended() {
    let (node, group) = (Node::new().await, group());
    let other = Fence {
        epoch: 1,
        history: "another".to_owned(),
    };
    let epochs = &node.stores.epochs;
    epochs.raise(group.partition(), None, &other).await.unwrap();
    let receipt = node.append(group, text(user(), "在")).await;
    assert_eq!(receipt.pos, Position::new(2, 1));
    let fence = epochs.fence(group.partition()).await.unwrap().unwrap();
    let served = node.stores.log.history(group.partition()).await.unwrap();
    assert_eq!((fence.epoch, fence.history), (2, served));
}
