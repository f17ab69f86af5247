//! Each rule that protocol.md sets for clients, as a conversation without a network.

mod connection;
mod outbox;
mod reads;
mod timeline;

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
