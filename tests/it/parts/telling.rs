//! What sockets are told beside events: heads, never of an epoch that they were not told, and
//! signs of life. Nothing comes before their welcome.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use qunliu::clock::ManualClock;
use qunliu::egress::heartbeat::Heartbeat;
use qunliu::egress::socket::Push;
use qunliu::model::id::GroupId;
use qunliu::protocol::client::Level;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::pushing::{Pushing, Tab, positions};
use crate::support::eventually;
use crate::support::logs::{AT, DEADLINE};
use crate::support::sample::at;

#[tokio::test]
async fn heads_of_an_epoch_that_was_not_told_are_told_as_of_what_was_pushed() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    pushing.say().await;
    pushing.node.raise(pushing.group).await;
    pushing.say().await;
    pushing.read_elsewhere(at(1, 2)).await;
    let pushed = json!({"type": "heads", "heads": [[pushing.group, [1, 2], 0, 0]]});
    assert_eq!(tab.frame().await, pushed);
    // A newcomer is welcomed to where the group was pushed, and told the epoch like all others.
    let (mut newcomer, arrival) = pushing.arriving("web-2").await;
    let head = arrival.groups[0].state.unwrap().head;
    assert_eq!(head, at(1, 2));
    pushing.attach.deliver(&newcomer.socket, arrival);
    pushing.run_the_tail();
    for tab in [&mut tab, &mut newcomer] {
        let mut told = Vec::new();
        while told.last() != Some(&json!([2, 4])) {
            let frame = tab.frame().await;
            match frame["type"].as_str() {
                Some("epoch") => told.push(frame["groups"][pushing.group.to_string()].clone()),
                _ => told.extend(positions(&frame)),
            }
        }
        let epoch = json!([[2, 4]]);
        assert!(told.contains(&epoch), "an event before its epoch: {told:?}");
        told.retain(|told| *told != epoch);
        assert_eq!(told, [json!([1, 3]), json!([2, 4])]);
    }
    pushing.read_elsewhere(at(1, 2)).await;
    let newest = json!({"type": "heads", "heads": [[pushing.group, [2, 4], 2, 0]]});
    for tab in [&mut tab, &mut newcomer] {
        assert_eq!(tab.frame().await, newest);
    }
}

/// The log was opened again for nobody's message: as after a restart of Redis, in a group where
/// nothing is said.
#[tokio::test]
async fn who_arrives_after_a_log_was_opened_again_in_silence_is_told_its_epoch_by_the_head() {
    let pushing = Pushing::new().await;
    let (node, group) = (&pushing.node, pushing.group);
    let mut tab = pushing.welcomed("web-1").await;
    pushing.run_the_tail();
    let fence = node.raise(group).await;
    node.reopener.reopen(group, fence.epoch).await.unwrap();
    let epoch = json!({"type": "epoch", "groups": {group.to_string(): [[2, 3]]}});
    assert_eq!(tab.frame().await, epoch);
    eventually(DEADLINE, async || {
        pushing.hub.group(group).unwrap().reached().pos == at(2, 2)
    })
    .await;
    let (mut newcomer, arrival) = pushing.arriving("web-2").await;
    assert_eq!(arrival.groups[0].state.unwrap().head, at(2, 2));
    assert!(arrival.groups[0].rows.is_empty());
    pushing.attach.deliver(&newcomer.socket, arrival);
    pushing.say().await;
    for tab in [&mut tab, &mut newcomer] {
        assert_eq!(positions(&tab.frame().await), [json!([2, 3])]);
    }
    assert_eq!(node.metrics.tail_gaps.get(), 0, "nothing was missing");
}

/// A page waits for this, and so do answers to sends.
#[tokio::test]
async fn nothing_of_an_epoch_may_be_sent_before_it_was_told() {
    let pushing = Pushing::new().await;
    let (hub, group) = (&pushing.hub, pushing.group);
    let mut tab = pushing.welcomed("web-1").await;
    let mut adding = pushing.welcomed("web-2").await;
    adding.socket.hold();
    pushing.node.raise(group).await;
    pushing.say().await;
    for tab in [&tab, &adding] {
        assert!(hub.may_send(&tab.socket, group, 1));
        assert!(!hub.may_send(&tab.socket, group, 2));
    }
    pushing.run_the_tail();
    let patience = Duration::from_millis(200);
    assert!(hub.until_told(&tab.socket, (group, 2), DEADLINE).await);
    assert_eq!(tab.frame().await["type"], "epoch");
    let told = hub.until_told(&adding.socket, (group, 2), patience).await;
    assert!(!told, "it is held back");
    adding.socket.release(&HashMap::new());
    assert!(hub.until_told(&adding.socket, (group, 2), DEADLINE).await);
    assert_eq!(adding.frame().await["type"], "epoch");
}

/// Pushes `[1,3]`, which is more than its queue may ever hold.
fn overflow(tab: &Tab, group: GroupId) {
    tab.socket.push(&Push {
        group,
        from: at(1, 2),
        last: at(1, 3),
        frame: vec![0; 2 << 20].into(),
        may_wait: false,
    });
}

/// Its place is behind what was dropped, of which the client is told by `resync`.
#[tokio::test]
async fn who_lags_is_told_an_epoch_before_anything_of_it() {
    let pushing = Pushing::new().await;
    let (hub, group) = (&pushing.hub, pushing.group);
    let mut tab = pushing.welcomed("web-1").await;
    overflow(&tab, group);
    tab.socket.tell_epochs(group, &[(2, 4)]);
    assert!(tab.socket.tell_heads(&[(group, at(2, 4), 1, 0)]));
    tab.socket.catch_up();
    let epoch = json!({"type": "epoch", "groups": {group.to_string(): [[2, 4]]}});
    assert_eq!(tab.frame().await, epoch);
    assert_eq!(tab.frame().await["type"], "heads");
    assert_eq!(tab.frame().await["type"], "resync");
    assert_eq!(hub.told(&tab.socket, group), Some(1));
    tab.has_nothing().await;
}

/// The mark is in no store, so none was asked.
#[tokio::test]
async fn who_read_all_that_was_pushed_is_told_so_without_a_store() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    pushing.run_the_tail();
    pushing.say().await;
    assert_eq!(positions(&tab.frame().await), [json!([1, 3])]);
    for (read, unread) in [(at(1, 3), 0), (at(1, 2), 1)] {
        pushing.read_elsewhere(read).await;
        let told = json!({"type": "heads", "heads": [[pushing.group, [1, 3], unread, 0]]});
        assert_eq!(tab.frame().await, told);
    }
}

#[tokio::test]
async fn no_head_comes_before_the_welcome_or_while_a_group_is_added() {
    let pushing = Pushing::new().await;
    let mut adding = pushing.welcomed("web-1").await;
    adding.socket.hold();
    let mut welcomed = pushing.welcomed("web-2").await;
    let (mut arriving, arrival) = pushing.arriving("web-3").await;
    pushing.read_elsewhere(at(1, 2)).await;
    let heads = json!({"type": "heads", "heads": [[pushing.group, [1, 2], 0, 0]]});
    assert_eq!(
        welcomed.frame().await,
        heads,
        "those with a welcome are told"
    );
    pushing.attach.deliver(&arriving.socket, arrival);
    adding.socket.release(&HashMap::new());
    for tab in [&mut arriving, &mut adding] {
        tab.has_nothing().await;
    }
}

#[tokio::test]
async fn who_was_not_sent_all_of_a_group_is_not_relied_on_to_know_its_epoch() {
    let pushing = Pushing::new().await;
    let (mut tab, group) = (pushing.welcomed("web-1").await, pushing.group);
    assert_eq!(pushing.hub.told(&tab.socket, group), Some(1));
    overflow(&tab, group);
    assert_eq!(pushing.hub.told(&tab.socket, group), None);
    tab.socket.catch_up();
    let resync = json!({"type": "resync", "group": group, "from": [1, 2], "head": [1, 3]});
    assert_eq!(tab.frame().await, resync);
    assert_eq!(pushing.hub.told(&tab.socket, group), Some(1));
}

/// Beats once a second, and at once.
fn beat(pushing: &Pushing) {
    let heartbeat = Heartbeat {
        hub: pushing.hub.clone(),
        clock: Arc::new(ManualClock::at(AT)),
    };
    let tasks = &pushing.node.tasks;
    tasks.spawn(heartbeat.run(tasks.draining().clone()));
}

#[tokio::test]
async fn a_beat_is_a_frame_and_a_ping_and_before_the_welcome_a_ping_alone() {
    let pushing = Pushing::new().await;
    let mut welcomed = pushing.welcomed("web-1").await;
    let (mut arriving, _arrival) = pushing.arriving("web-2").await;
    beat(&pushing);
    // A page cannot see pings: without the frame it would take the connection for dead.
    assert_eq!(
        welcomed.frame().await,
        json!({"type": "heads", "heads": []})
    );
    assert_eq!(welcomed.message().await, Some(Message::Ping("".into())));
    assert_eq!(arriving.message().await, Some(Message::Ping("".into())));
}

#[tokio::test]
async fn a_store_that_hangs_or_fails_holds_up_no_beat_and_heads_are_told_after_it() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    tab.socket.set_level(pushing.group, Level::Head);
    pushing.run_the_tail();
    pushing.say().await;
    let door = &pushing.node.log.heads;
    let asked = door.callers();
    door.turn_one_away();
    beat(&pushing);
    door.reached_by(asked + 1).await;
    door.shut();
    door.reached_by(asked + 2).await;
    let mut beats = 0;
    while beats < 3 {
        let message = tab.message().await.unwrap();
        beats += usize::from(message.is_ping());
        assert!(!message.to_text().unwrap_or_default().contains("[1,3]"));
    }
    door.open();
    let head = json!({"type": "heads", "heads": [[pushing.group, [1, 3], 1, 0]]});
    let told = async {
        loop {
            let message = tab.message().await.unwrap();
            let frame = serde_json::from_slice::<Value>(&message.into_data());
            if frame.is_ok_and(|frame| frame == head) {
                return;
            }
        }
    };
    timeout(DEADLINE, told).await.expect("the head is told");
}

#[tokio::test]
async fn who_is_silent_for_two_beats_and_two_seconds_is_let_go() {
    let pushing = Pushing::new().await;
    let mut silent = pushing.welcomed("web-1").await;
    tokio::time::pause();
    silent.socket.note_seen(pushing.hub.now_s());
    beat(&pushing);
    let mut beats = 0;
    while let Some(message) = silent.message().await {
        beats += u64::from(message.is_ping());
    }
    assert_eq!(beats, 5, "the sixth finds five seconds of silence");
}
