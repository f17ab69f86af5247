//! Events, holes, epochs: how a client keeps its copy of the log.

use serde_json::json;

use super::{GROUP, Note, OTHER, Talk, event, group, pos};

#[test]
fn hello_carries_the_token_and_no_cursor_at_first() {
    let mut talk = Talk::new();
    assert_eq!(talk.connects, [false]);
    talk.open();
    let hello = talk.last_sent("hello");
    assert_eq!(hello["token"], "t0");
    assert_eq!(hello["cursors"], json!({}));
}

#[test]
fn a_frame_before_the_welcome_is_a_fault() {
    let mut talk = Talk::new();
    talk.open();
    talk.hear(json!({"type": "heads", "heads": []}));
    assert!(talk.notes.iter().any(|note| matches!(note, Note::Fault(_))));
    assert_eq!(talk.closes, 0);
}

#[test]
fn the_next_event_is_applied_and_an_older_one_is_ignored() {
    let mut talk = Talk::live();
    talk.events(&[(1, 9), (1, 10), (1, 11), (1, 12)]);
    assert_eq!(talk.applied(), [(1, 11), (1, 12)]);
}

#[test]
fn a_hole_is_waited_for_and_then_pulled() {
    let mut talk = Talk::live();
    talk.events(&[(1, 13)]);
    talk.wait(499);
    assert!(talk.sent("pull").is_empty());
    talk.wait(1);
    assert_eq!(talk.last_sent("pull")["after"], json!([1, 10]));
    let id = talk.last_sent("pull")["id"].clone();
    talk.hear(
        json!({"type": "page", "id": id, "group": GROUP, "more": false,
        "events": [event(1, 11), event(1, 12)]}),
    );
    assert_eq!(talk.applied(), [(1, 11), (1, 12), (1, 13)]);
    talk.wait(2_000);
    assert_eq!(talk.sent("pull").len(), 1, "the hole is closed");
}

#[test]
fn a_hole_is_noted_once_and_not_while_a_page_is_on_its_way() {
    let mut talk = Talk::live();
    talk.events(&[(1, 12), (1, 13)]);
    assert_eq!(talk.noted(&Note::Hole), 1);
    let mut talk = Talk::live();
    talk.hear(json!({"type": "resync", "group": GROUP, "from": [1, 10], "head": [1, 19]}));
    talk.events(&[(1, 20)]);
    assert_eq!(talk.noted(&Note::Hole), 0);
}

#[test]
fn a_hole_that_fills_by_itself_is_not_pulled() {
    let mut talk = Talk::live();
    talk.events(&[(1, 12)]);
    talk.wait(300);
    talk.events(&[(1, 11)]);
    talk.wait(2_000);
    assert!(talk.sent("pull").is_empty());
    assert_eq!(talk.applied(), [(1, 11), (1, 12)]);
}

#[test]
fn more_pages_are_pulled_until_the_head() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "resync", "group": GROUP, "from": [1, 10], "head": [1, 13]}));
    let id = talk.last_sent("pull")["id"].clone();
    talk.hear(json!({"type": "page", "id": id, "events": [event(1, 11)], "more": true}));
    let next = talk.last_sent("pull");
    assert_eq!(next["after"], json!([1, 11]));
    let page = json!({"type": "page", "id": next["id"], "events": [event(1, 12), event(1, 13)]});
    talk.hear(page);
    talk.wait(5_000);
    assert_eq!(talk.applied(), [(1, 11), (1, 12), (1, 13)]);
    assert_eq!(talk.sent("pull").len(), 2);
}

#[test]
fn a_refused_pull_is_tried_again_when_the_server_says_so() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "resync", "group": GROUP, "from": [1, 10], "head": [1, 13]}));
    let id = talk.last_sent("pull")["id"].clone();
    talk.hear(json!({"type": "error", "id": id, "code": "busy", "retry_after_ms": 800}));
    talk.wait(799);
    assert_eq!(talk.sent("pull").len(), 1);
    talk.wait(1);
    assert_eq!(talk.sent("pull").len(), 2);
}

#[test]
fn a_head_without_its_event_is_pulled() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "heads", "heads": [[GROUP, [1, 11], 1, 0]]}));
    talk.wait(499);
    assert!(talk.sent("pull").is_empty());
    talk.wait(1);
    assert_eq!(talk.sent("pull").len(), 1);
}

#[test]
fn a_resync_is_pulled_at_once() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "resync", "group": GROUP, "from": [1, 10], "head": [1, 40]}));
    assert_eq!(talk.last_sent("pull")["after"], json!([1, 10]));
    assert_eq!(talk.noted(&Note::Resync), 1);
}

#[test]
fn one_position_pushed_twice_is_noted() {
    let mut talk = Talk::live();
    talk.events(&[(1, 11)]);
    talk.events(&[(1, 11)]);
    assert_eq!(talk.noted(&Note::Doubled(group(), pos(1, 11))), 1);
    assert_eq!(talk.applied(), [(1, 11)]);
}

#[test]
fn a_position_pushed_after_a_higher_one_is_noted() {
    let mut talk = Talk::live();
    talk.events(&[(1, 12)]);
    talk.events(&[(1, 11)]);
    assert_eq!(talk.noted(&Note::OutOfOrder(group(), pos(1, 11))), 1);
}

#[test]
fn what_a_resume_repeats_is_no_double() {
    let mut talk = Talk::live();
    talk.events(&[(1, 11)]);
    talk.reopen();
    assert_eq!(talk.last_sent("hello")["cursors"], json!({GROUP: [1, 11]}));
    talk.welcome(json!([{"group": GROUP, "verdict": "ok", "head": [1, 12], "stored": [1, 12]}]));
    talk.events(&[(1, 12)]);
    talk.events(&[(1, 12)]);
    assert_eq!(talk.noted(&Note::Doubled(group(), pos(1, 12))), 0);
    assert_eq!(talk.noted(&Note::Reconnected), 1);
}

#[test]
fn the_verdict_pull_is_pulled_at_once() {
    let mut talk = Talk::live();
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "verdict": "pull", "head": [1, 9000], "stored": [1, 9]}]));
    assert_eq!(talk.last_sent("pull")["after"], json!([1, 10]));
}

#[test]
fn groups_of_a_second_welcome_frame_are_followed_too() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "welcome_more", "groups": [{"group": OTHER, "head": [2, 5]}]}));
    talk.hear(json!({"type": "events", "group": OTHER, "events": [event(2, 6)]}));
    assert_eq!(talk.applied(), [(2, 6)]);
}

#[test]
fn the_verdict_epoch_drops_what_never_happened() {
    let mut talk = Talk::live();
    talk.events(&[(1, 11), (1, 12)]);
    talk.reopen();
    talk.welcome(
        json!([{"group": GROUP, "verdict": "epoch", "head": [2, 12], "stored": [2, 12],
        "rows": [[2, 12]]}]),
    );
    assert_eq!(talk.noted(&Note::Dropped(group(), 12)), 1);
    talk.events(&[(2, 12)]);
    assert_eq!(talk.applied(), [(1, 11), (1, 12), (2, 12)]);
}

#[test]
fn the_verdict_epoch_may_ask_for_a_pull() {
    let mut talk = Talk::live();
    talk.reopen();
    talk.welcome(
        json!([{"group": GROUP, "verdict": "epoch", "head": [2, 900], "stored": [2, 900],
        "rows": [[2, 8]], "pull": true}]),
    );
    assert_eq!(talk.last_sent("pull")["after"], json!([1, 7]));
}

#[test]
fn the_verdict_gone_ends_a_group_and_its_messages() {
    let mut talk = Talk::live();
    talk.say(3);
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "verdict": "gone"}]));
    assert_eq!(talk.noted(&Note::Refused(3, "gone".to_owned())), 1);
    talk.reopen();
    assert_eq!(talk.last_sent("hello")["cursors"], json!({}));
}

#[test]
fn a_live_epoch_drops_and_the_new_log_is_applied() {
    let mut talk = Talk::live();
    talk.events(&[(1, 11), (1, 12), (1, 14)]);
    talk.epoch(json!([[2, 12]]));
    assert_eq!(talk.noted(&Note::Dropped(group(), 12)), 1);
    talk.events(&[(2, 12), (2, 13)]);
    assert_eq!(talk.applied(), [(1, 11), (1, 12), (2, 12), (2, 13)]);
    talk.wait(2_000);
    assert!(
        talk.sent("pull").is_empty(),
        "the dead (1,14) is no head to catch up with"
    );
}

#[test]
fn an_epoch_above_all_that_is_held_drops_nothing() {
    let mut talk = Talk::live();
    talk.epoch(json!([[2, 11]]));
    assert!(
        !talk
            .notes
            .iter()
            .any(|note| matches!(note, Note::Dropped(..)))
    );
    talk.events(&[(2, 11)]);
    assert_eq!(talk.applied(), [(2, 11)]);
}

#[test]
fn a_straggler_of_a_dead_epoch_is_ignored() {
    let mut talk = Talk::live();
    talk.epoch(json!([[2, 11]]));
    talk.events(&[(1, 11)]);
    talk.events(&[(2, 11)]);
    assert_eq!(talk.applied(), [(2, 11)]);
}

#[test]
fn an_event_of_an_epoch_not_told_is_a_fault_and_reconnects() {
    let mut talk = Talk::live();
    talk.events(&[(2, 11)]);
    assert!(talk.applied().is_empty());
    assert_eq!(talk.closes, 1);
    assert!(talk.notes.iter().any(|note| matches!(note, Note::Fault(_))));
    talk.wait(10_000);
    assert_eq!(talk.connects.len(), 2);
}
