//! Every frame that the server reads, and frames that it refuses, with the field that it names.

use qunliu::model::id::{GroupId, UserId};
use qunliu::model::message::{Body, Mentions};
use qunliu::model::position::Position;
use qunliu::protocol::client::{ClientFrame, Level};

use serde_json::Value;

use super::golden;
use crate::support::operators::{operators, pointers};

/// The good frames. The test of each is below.
pub(super) const READ: &[&str] = &[
    "client-hello",
    "client-hello-bare",
    "client-hello-ticket",
    "client-send",
    "client-send-all",
    "client-send-again",
    "client-read",
    "client-read-asked",
    "client-pull-after",
    "client-pull-before",
    "client-follow",
    "client-follow-head",
    "client-follow-none",
    "client-typing",
    "client-token",
];

/// The refused frames: the field that is named, and a part of what is said of it.
pub(super) const REFUSED: &[(&str, &str, &str)] = &[
    ("refused-no-object", "", "JSON object"),
    ("refused-no-type", "type", "needs"),
    ("refused-unknown-type", "type", "`sned`"),
    ("refused-unknown-field", "bdoy", "unknown field"),
    (
        "refused-unknown-field-in-body",
        "body.bold",
        "unknown field",
    ),
    ("refused-missing-field", "", "`client_id`"),
    ("refused-wrong-type", "body.text", "string"),
    ("refused-unknown-kind", "body.kind", "`txet`"),
    ("refused-blank-text", "body.text", "blank"),
    ("refused-nul", "body.text", "NUL"),
    ("refused-lone-surrogate", "", "hex escape"),
    ("refused-twice", "", "`text` stands twice"),
    ("refused-nesting", "", "deeper than 32"),
    ("refused-trailing", "", "trailing"),
    ("refused-foreign-id", "group", "g_"),
    ("refused-bare-seq", "pos", "tuple"),
    ("refused-negative-seq", "pos[1]", "u64"),
    ("refused-fraction", "id", "u64"),
    ("refused-large-id", "id", "2^53-1"),
    ("refused-other-uuid", "client_id", "hyphens"),
    ("refused-pull-both", "after", "exactly one"),
    ("refused-pull-neither", "after", "exactly one"),
    ("refused-pull-limit", "limit", "1 to 200"),
    ("refused-device", "device", "1 to 64"),
    ("refused-typing-id", "id", "unknown field"),
    ("refused-level", "level", "`half`"),
    ("refused-mentions", "mentions", "match"),
];

fn group() -> GroupId {
    "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12".parse().unwrap()
}

fn user() -> UserId {
    "u_0190c2f47a5b7c3e8f1d2a4b6c8e0f01".parse().unwrap()
}

fn read(name: &str) -> ClientFrame {
    assert!(READ.contains(&name), "{name} is not listed");
    ClientFrame::parse(&golden(name)).unwrap_or_else(|refused| panic!("{name}: {refused:?}"))
}

macro_rules! read {
    ($variant:ident, $name:literal) => {
        match read($name) {
            ClientFrame::$variant(frame) => frame,
            other => panic!("{}: {other:?}", $name),
        }
    };
}

#[test]
fn a_hello_is_read() {
    let hello = read!(Hello, "client-hello");
    assert_eq!(
        (hello.token.as_deref(), &*hello.device),
        (Some("eyJhbGciOi.J9.c2ln"), "web-7f3a")
    );
    assert_eq!(hello.cursors.len(), 1);
    assert_eq!(hello.cursors[&group()], Position::new(3, 1841));
    assert!(read!(Hello, "client-hello-bare").cursors.is_empty());
    let by_ticket = read!(Hello, "client-hello-ticket");
    assert_eq!(
        (by_ticket.token, by_ticket.ticket.as_deref()),
        (None, Some("qlt_c2ln"))
    );
}

#[test]
fn a_send_is_read() {
    let send = read!(Send, "client-send");
    assert_eq!((send.id, send.group), (12, group()));
    assert_eq!(
        send.client_id.to_string(),
        "0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f04"
    );
    let text = "在吗".to_owned();
    assert_eq!(send.body, Body::Text { text });
    assert_eq!(send.reply_to, Some(Position::new(3, 1830)));
    assert_eq!(send.mentions, Mentions::Users(vec![user()]));
    assert_eq!(send.again, None);
    assert!(read!(Send, "client-send-all").mentions.is_all());
    let again = read!(Send, "client-send-again");
    assert_eq!(again.again, Some(Position::new(3, 1841)));
    assert_eq!((again.reply_to, again.mentions.is_empty()), (None, true));
}

#[test]
fn a_read_mark_is_read() {
    let mark = read!(Read, "client-read");
    assert_eq!(
        (mark.id, mark.group, mark.pos),
        (None, group(), Position::new(3, 1851))
    );
    assert_eq!(read!(Read, "client-read-asked").id, Some(14));
}

#[test]
fn a_pull_is_read() {
    let after = read!(Pull, "client-pull-after");
    assert_eq!((after.id, after.group, after.limit), (16, group(), 50));
    assert_eq!(
        (after.after, after.before),
        (Some(Position::new(3, 1841)), None)
    );
    let before = read!(Pull, "client-pull-before");
    assert_eq!(
        (before.after, before.before),
        (None, Some(Position::new(3, 1841)))
    );
    assert_eq!(before.limit, 100, "the default");
}

#[test]
fn a_follow_is_read() {
    let follow = read!(Follow, "client-follow");
    assert_eq!((follow.id, follow.level), (17, Level::Full));
    assert_eq!(follow.groups[&group()], Some(Position::new(3, 1841)));
    assert_eq!(
        follow
            .groups
            .values()
            .filter(|cursor| cursor.is_none())
            .count(),
        1
    );
    assert_eq!(read!(Follow, "client-follow-head").level, Level::Head);
    assert_eq!(read!(Follow, "client-follow-none").level, Level::None);
}

#[test]
fn typing_is_read() {
    assert_eq!(read!(Typing, "client-typing").group, group());
}

#[test]
fn a_token_is_read() {
    let token = read!(Token, "client-token");
    assert_eq!((token.id, &*token.token), (18, "eyJhbGciOi.J9.c2ln"));
}

#[test]
fn what_is_wrong_is_refused_by_its_field() {
    for (name, field, detail) in REFUSED {
        let refused = ClientFrame::parse(&golden(name)).expect_err(name);
        assert_eq!(refused.invalid.field, *field, "{name}: {refused:?}");
        assert!(
            refused.invalid.detail.contains(detail),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn no_field_of_a_frame_takes_an_operator() {
    for name in READ {
        let good: Value = serde_json::from_str(&golden(name)).unwrap();
        for field in pointers(&good) {
            for operator in operators() {
                let mut frame = good.clone();
                *frame.pointer_mut(&field).unwrap() = operator;
                let frame = frame.to_string();
                let refused = ClientFrame::parse(&frame).expect_err(&frame).invalid;
                let outermost = field[1..].split('/').next().unwrap();
                assert!(refused.field.starts_with(outermost), "{frame}: {refused:?}");
            }
        }
        for object in std::iter::once(String::new()).chain(pointers(&good)) {
            let mut frame = good.clone();
            if let Some(Value::Object(fields)) = frame.pointer_mut(&object) {
                fields.insert("$where".to_owned(), "sleep(9)".into());
                let frame = frame.to_string();
                assert!(ClientFrame::parse(&frame).is_err(), "{frame}");
            }
        }
    }
}
