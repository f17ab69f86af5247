//! Read marks, and the groups a client follows.

use serde_json::{Value, json};

use super::{GROUP, Note, OTHER, Talk, event, group, ms, parsed, pos};
use crate::cli::load::client::CURSORS_MAX;

#[test]
fn a_read_is_repeated_until_it_is_answered() {
    let mut talk = Talk::live();
    talk.client.read(group(), pos(1, 9), talk.now);
    talk.collect();
    assert_eq!(talk.last_sent("read")["pos"], json!([1, 9]));
    assert!(!talk.client.is_settled());
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "head": [1, 10]}]));
    let id = talk.last_sent("read")["id"].clone();
    talk.hear(json!({"type": "done", "id": id}));
    assert!(talk.client.is_settled());
    assert_eq!(
        talk.client.cursors().collect::<Vec<_>>(),
        [(group(), pos(1, 9))]
    );
}

#[test]
fn a_group_is_read_at_most_once_a_second() {
    let mut talk = Talk::live();
    talk.client.read(group(), pos(1, 8), talk.now);
    talk.collect();
    let id = talk.last_sent("read")["id"].clone();
    talk.hear(json!({"type": "done", "id": id}));
    talk.client.read(group(), pos(1, 9), talk.now);
    talk.wait(999);
    assert_eq!(talk.sent("read").len(), 1);
    talk.wait(1);
    assert_eq!(talk.sent("read").len(), 2);
}

#[test]
fn a_read_of_what_was_lost_since_is_one_of_what_stayed() {
    let mut talk = Talk::live();
    talk.epoch(json!([[2, 8]]));
    talk.client.read(group(), pos(1, 9), talk.now);
    talk.collect();
    assert_eq!(talk.last_sent("read")["pos"], json!([1, 7]));
}

#[test]
fn a_lower_read_changes_nothing() {
    let mut talk = Talk::live();
    talk.client.read(group(), pos(1, 9), talk.now);
    talk.collect();
    let id = talk.last_sent("read")["id"].clone();
    talk.hear(json!({"type": "done", "id": id}));
    talk.client.read(group(), pos(1, 3), talk.now);
    talk.wait(5_000);
    assert_eq!(talk.sent("read").len(), 1);
}

#[test]
fn a_joined_group_is_followed_from_there() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "joined", "group": {"id": OTHER, "head": [3, 7]}}));
    talk.hear(json!({"type": "events", "group": OTHER, "events": [event(3, 8)]}));
    assert_eq!(
        talk.notes.last(),
        Some(&Note::Applied(OTHER.parse().unwrap(), parsed(3, 8)))
    );
}

#[test]
fn the_cursors_of_the_latest_groups_go_first() {
    let mut talk = Talk::new();
    talk.open();
    let id = |n: usize| format!("g_{n:032x}");
    let groups: Vec<_> = (0..510)
        .map(|n| json!({"group": id(n), "head": [1, 1]}))
        .collect();
    talk.welcome(Value::Array(groups));
    talk.now += ms(5);
    talk.hear(json!({"type": "events", "group": id(509), "events": [event(1, 2)]}));
    talk.reopen();
    let cursors = talk.last_sent("hello")["cursors"].clone();
    assert_eq!(cursors.as_object().unwrap().len(), CURSORS_MAX);
    assert_eq!(cursors[id(509)], json!([1, 2]));
}
