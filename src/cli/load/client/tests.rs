//! Each rule that protocol.md sets for clients, as a conversation without a network.

use serde_json::{Value, json};

use super::*;
use crate::cli::load::wire::Body;

const GROUP: &str = "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12";
const OTHER: &str = "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f13";

fn group() -> GroupId {
    GROUP.parse().unwrap()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn pos(epoch: u64, seq: u64) -> Position {
    Position::new(epoch, seq)
}

/// A client with the hands of the test on its clock and its socket.
struct Talk {
    client: Client,
    now: Duration,
    sent: Vec<Value>,
    notes: Vec<Note>,
    connects: Vec<bool>,
    closes: usize,
    renewals: usize,
}

impl Talk {
    fn new() -> Self {
        let client = Client::new("d".to_owned(), "t0".to_owned(), ms(720_000), Random::new(1));
        let mut talk = Self {
            client,
            now: Duration::ZERO,
            sent: Vec::new(),
            notes: Vec::new(),
            connects: Vec::new(),
            closes: 0,
            renewals: 0,
        };
        talk.wait(0);
        talk
    }

    /// A client whose welcome said that the group stands at (1,10), all of it stored.
    fn live() -> Self {
        let mut talk = Self::new();
        talk.open();
        talk.welcome(
            json!([{"group": GROUP, "verdict": "ok", "head": [1, 10], "stored": [1, 10]}]),
        );
        talk.sent.clear();
        talk
    }

    fn open(&mut self) {
        self.client.opened(self.now);
        self.collect();
    }

    fn welcome(&mut self, groups: impl Into<Value>) {
        self.hear(json!({"type": "welcome", "heartbeat_s": 25, "groups": groups.into()}));
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a frame is written where it is heard"
    )]
    fn hear(&mut self, frame: Value) {
        self.client.heard(&frame.to_string(), self.now);
        self.collect();
    }

    fn events(&mut self, positions: &[(u64, u64)]) {
        let events: Vec<_> = positions.iter().map(|(e, s)| event(*e, *s)).collect();
        self.hear(json!({"type": "events", "group": GROUP, "events": events}));
    }

    fn epoch(&mut self, rows: impl Into<Value>) {
        self.hear(json!({"type": "epoch", "groups": {GROUP: rows.into()}}));
    }

    fn say(&mut self, k: usize) {
        self.client.say(
            k,
            group(),
            ClientId::from_bytes([7; 16]),
            format!("text {k}"),
            self.now,
        );
        self.collect();
    }

    /// Lets time pass as the driver does: it wakes at every deadline on the way.
    fn wait(&mut self, millis: u64) {
        let until = self.now + ms(millis);
        self.client.tick(self.now);
        self.collect();
        while let Some(next) = self.client.deadline().filter(|next| *next <= until) {
            assert!(next > self.now, "a deadline in the past would spin");
            self.now = next;
            self.client.tick(self.now);
            self.collect();
        }
        self.now = until;
    }

    fn close(&mut self, code: Option<u16>) {
        self.client.closed(code, self.now);
        self.collect();
    }

    /// Loses the socket and opens the next one.
    fn reopen(&mut self) {
        self.close(None);
        self.wait(10_000);
        self.sent.clear();
        self.open();
    }

    fn collect(&mut self) {
        for action in self.client.take_actions() {
            match action {
                Action::Connect { elsewhere } => self.connects.push(elsewhere),
                Action::Send(text) => self.sent.push(serde_json::from_str(&text).unwrap()),
                Action::Close => self.closes += 1,
                Action::Renew => self.renewals += 1,
                Action::Note(note) => self.notes.push(note),
            }
        }
    }

    fn sent(&self, kind: &str) -> Vec<&Value> {
        self.sent
            .iter()
            .filter(|frame| frame["type"] == kind)
            .collect()
    }

    fn last_sent(&self, kind: &str) -> Value {
        self.sent(kind)
            .last()
            .copied()
            .cloned()
            .unwrap_or_else(|| panic!("no {kind} was sent"))
    }

    fn applied(&self) -> Vec<(u64, u64)> {
        let applied = self.notes.iter().filter_map(|note| match note {
            Note::Applied(_, event) => Some((event.pos.epoch, event.pos.seq)),
            _ => None,
        });
        applied.collect()
    }

    fn noted(&self, wanted: &Note) -> usize {
        self.notes.iter().filter(|note| *note == wanted).count()
    }

    fn accept(&mut self, id: &Value, at: Position) {
        self.hear(json!({"type": "accepted", "id": id, "group": GROUP, "pos": at, "message": "m"}));
    }

    fn stored(&mut self, at: Position) {
        self.hear(json!({"type": "stored", "group": GROUP, "pos": at}));
    }
}

fn event(epoch: u64, seq: u64) -> Value {
    json!({"pos": [epoch, seq], "kind": "message", "body": {"kind": "text", "text": "x"}})
}

fn parsed(epoch: u64, seq: u64) -> Event {
    let body = Some(Body {
        text: "x".to_owned(),
    });
    Event {
        pos: pos(epoch, seq),
        kind: "message".to_owned(),
        sender: None,
        body,
    }
}

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
