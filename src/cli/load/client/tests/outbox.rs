//! What a client sent: receipts, re-sends, refusals.

use serde_json::json;

use super::{GROUP, Note, Talk, pos};

#[test]
fn a_first_try_carries_no_again_and_stored_settles_it() {
    let mut talk = Talk::live();
    talk.say(0);
    let send = talk.last_sent("send");
    assert!(send.get("again").is_none());
    assert_eq!(send["body"], json!({"kind": "text", "text": "text 0"}));
    talk.accept(&send["id"], pos(1, 11));
    assert!(!talk.client.is_settled());
    talk.stored(pos(1, 11));
    assert!(talk.client.is_settled());
    assert_eq!(talk.noted(&Note::Stored(0, pos(1, 11))), 1);
    talk.wait(60_000);
    assert_eq!(talk.sent("send").len(), 1);
}

#[test]
fn stored_before_accepted_settles_too() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.stored(pos(1, 11));
    assert!(!talk.client.is_settled());
    talk.accept(&id, pos(1, 11));
    assert!(talk.client.is_settled());
}

#[test]
fn a_watermark_below_the_position_settles_nothing() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 12));
    talk.stored(pos(1, 11));
    assert!(!talk.client.is_settled());
}

#[test]
fn after_a_reconnect_it_is_sent_again_with_the_head_of_the_first_try() {
    let mut talk = Talk::live();
    talk.say(0);
    let first = talk.last_sent("send");
    talk.events(&[(1, 11), (1, 12)]);
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "verdict": "ok", "head": [1, 12], "stored": [1, 10]}]));
    let again = talk.last_sent("send");
    assert_eq!(again["client_id"], first["client_id"]);
    assert_eq!(again["again"], json!([1, 10]));
    assert_eq!(talk.noted(&Note::Again), 1);
}

#[test]
fn what_the_welcome_says_is_stored_is_not_sent_again() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 11));
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "verdict": "ok", "head": [1, 11], "stored": [1, 11]}]));
    assert!(talk.client.is_settled());
    assert!(talk.sent("send").is_empty());
}

#[test]
fn what_is_said_without_a_socket_goes_out_after_the_welcome() {
    let mut talk = Talk::live();
    talk.close(None);
    talk.say(0);
    assert!(talk.sent("send").is_empty());
    talk.wait(10_000);
    talk.open();
    assert!(talk.sent("send").is_empty());
    talk.welcome(json!([{"group": GROUP, "head": [1, 10]}]));
    assert!(talk.last_sent("send").get("again").is_none());
}

#[test]
fn after_thirty_seconds_without_stored_it_is_sent_again() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 11));
    talk.wait(29_999);
    assert_eq!(talk.sent("send").len(), 1);
    talk.wait(1);
    assert_eq!(talk.last_sent("send")["again"], json!([1, 10]));
}

#[test]
fn an_epoch_that_kills_an_accepted_position_sends_again_at_once() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 11));
    talk.epoch(json!([[2, 11]]));
    let again = talk.last_sent("send");
    assert_eq!(again["again"], json!([1, 10]));
    talk.accept(&again["id"], pos(2, 11));
    talk.stored(pos(2, 11));
    assert_eq!(talk.noted(&Note::Stored(0, pos(2, 11))), 1);
}

#[test]
fn an_epoch_above_an_accepted_position_keeps_it_and_settles_it() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 11));
    talk.epoch(json!([[2, 12]]));
    assert_eq!(talk.sent("send").len(), 1);
    talk.stored(pos(2, 12));
    assert_eq!(talk.noted(&Note::Stored(0, pos(1, 11))), 1);
}

#[test]
fn stored_of_a_later_epoch_does_not_settle_a_dead_position() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.epoch(json!([[2, 11]]));
    talk.accept(&id, pos(1, 11));
    talk.stored(pos(2, 30));
    assert!(
        !talk.client.is_settled(),
        "an accepted at a dead position is ignored"
    );
}

#[test]
fn stored_counts_only_once_its_epoch_was_told() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.accept(&id, pos(1, 11));
    talk.stored(pos(2, 30));
    assert!(!talk.client.is_settled());
    talk.epoch(json!([[2, 12]]));
    assert!(talk.client.is_settled());
}

#[test]
fn a_busy_server_is_asked_again_when_it_says_so() {
    for code in ["busy", "rate_limited"] {
        let mut talk = Talk::live();
        talk.say(0);
        let id = talk.last_sent("send")["id"].clone();
        talk.hear(json!({"type": "error", "id": id, "code": code, "retry_after_ms": 800}));
        talk.wait(799);
        assert_eq!(talk.sent("send").len(), 1);
        talk.wait(1);
        assert_eq!(talk.last_sent("send")["again"], json!([1, 10]));
    }
}

#[test]
fn a_refusal_for_good_ends_a_message() {
    let mut talk = Talk::live();
    talk.say(0);
    let id = talk.last_sent("send")["id"].clone();
    talk.hear(json!({"type": "error", "id": id, "code": "muted", "message": "no"}));
    assert_eq!(talk.noted(&Note::Refused(0, "muted: no".to_owned())), 1);
    talk.reopen();
    talk.welcome(json!([{"group": GROUP, "head": [1, 10]}]));
    assert!(talk.sent("send").is_empty());
}

#[test]
fn a_frame_that_met_1009_is_failed_and_not_sent_again() {
    let mut talk = Talk::live();
    talk.say(0);
    talk.close(Some(1009));
    assert_eq!(talk.noted(&Note::Refused(0, "too_large".to_owned())), 1);
    assert!(talk.client.is_settled());
}
