//! When a client reconnects, and with which token.

use serde_json::json;

use super::{Note, Talk, ms};

#[test]
fn silence_of_more_than_two_beats_reconnects() {
    let mut talk = Talk::live();
    talk.wait(54_999);
    assert_eq!(talk.closes, 0);
    talk.wait(1);
    assert_eq!(talk.closes, 1);
    talk.wait(10_000);
    assert_eq!(talk.connects.len(), 2);
}

#[test]
fn every_frame_breaks_the_silence() {
    let mut talk = Talk::live();
    for _ in 0..5 {
        talk.wait(25_000);
        talk.hear(json!({"type": "heads", "heads": []}));
    }
    assert_eq!(talk.closes, 0);
}

#[test]
fn a_welcome_that_does_not_come_reconnects() {
    let mut talk = Talk::new();
    talk.open();
    talk.wait(10_000);
    assert_eq!(talk.closes, 1);
}

#[test]
fn goaway_comes_back_elsewhere_after_the_named_pause() {
    let mut talk = Talk::live();
    talk.hear(json!({"type": "goaway", "reason": "drain", "reconnect_after_ms": 4200}));
    talk.close(Some(1012));
    talk.wait(4_199);
    assert_eq!(talk.connects.len(), 1);
    talk.wait(1);
    assert_eq!(talk.connects, [false, true]);
    assert_eq!(talk.noted(&Note::Goaway), 1);
}

#[test]
fn who_is_refused_at_hello_comes_back_when_it_was_said() {
    let mut talk = Talk::new();
    talk.open();
    talk.hear(json!({"type": "error", "code": "busy", "retry_after_ms": 7_000}));
    talk.close(Some(1012));
    talk.wait(6_999);
    assert_eq!(talk.connects.len(), 1);
    talk.wait(1);
    assert_eq!(talk.connects.len(), 2);
}

#[test]
fn failed_attempts_back_off_with_jitter_and_try_elsewhere() {
    let mut talk = Talk::new();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let before = talk.now;
        talk.close(None);
        let count = talk.connects.len();
        while talk.connects.len() == count {
            talk.wait(1);
        }
        pauses.push((talk.now - before).as_millis());
    }
    assert!((100..=201).contains(&pauses[0]), "{pauses:?}");
    assert!((5_000..=10_001).contains(&pauses[8]), "{pauses:?}");
    assert!(talk.connects[1..].iter().all(|elsewhere| *elsewhere));
}

#[test]
fn a_lost_live_socket_tries_the_same_node_first() {
    let mut talk = Talk::live();
    talk.close(None);
    talk.wait(10_000);
    assert_eq!(talk.connects, [false, false]);
}

#[test]
fn the_token_is_renewed_in_time_and_told_on_the_open_socket() {
    let mut talk = Talk::live();
    for _ in 0..29 {
        talk.wait(25_000);
        talk.hear(json!({"type": "heads", "heads": []}));
    }
    assert_eq!(talk.renewals, 1);
    talk.client
        .renewed("t1".to_owned(), ms(9_000_000), talk.now);
    talk.collect();
    assert_eq!(talk.last_sent("token")["token"], "t1");
    talk.reopen();
    assert_eq!(talk.last_sent("hello")["token"], "t1");
}

#[test]
fn a_socket_closed_for_its_token_waits_for_a_new_one() {
    let mut talk = Talk::live();
    talk.close(Some(4401));
    talk.wait(20_000);
    assert_eq!((talk.renewals, talk.connects.len()), (1, 1));
    talk.client
        .renewed("t1".to_owned(), ms(9_000_000), talk.now);
    talk.wait(0);
    assert_eq!(talk.connects.len(), 2);
}

#[test]
fn a_renewal_that_fails_is_tried_again_unless_the_session_is_over() {
    let mut talk = Talk::live();
    talk.close(Some(4401));
    talk.wait(0);
    talk.client.not_renewed(false, talk.now);
    talk.wait(1_000);
    assert_eq!(talk.renewals, 2);
    talk.client.not_renewed(true, talk.now);
    talk.wait(60_000);
    assert_eq!((talk.renewals, talk.connects.len()), (2, 1));
}

#[test]
fn a_replaced_or_revoked_client_does_not_come_back() {
    for code in [4403, 4409] {
        let mut talk = Talk::live();
        talk.close(Some(code));
        talk.wait(60_000);
        assert_eq!(talk.connects.len(), 1);
        assert!(talk.notes.iter().any(|note| matches!(note, Note::Ended(_))));
    }
}
