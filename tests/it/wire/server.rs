//! Every frame that the server writes, made of fixed values.

use std::collections::BTreeMap;

use qunliu::egress::overview::{GroupState, GroupView};
use qunliu::model::event::{Content, Draft, Entry, Fixed};
use qunliu::model::group::Group;
use qunliu::model::hint::HintKind;
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::message::{Body, Mentions};
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::model::time::Time;
use qunliu::model::user::User;
use qunliu::protocol::code::ErrorCode;
use qunliu::protocol::server::{
    ErrorFrame, GroupNow, GroupWelcome, Limits, ServerFrame, Verdict, Welcome, WrongField, events,
    page,
};

use super::{golden, path};
use crate::support::env;

const AT: Time = Time::from_millis(1_764_000_000_040);
const HEAD: Position = Position::new(3, 1850);

fn group() -> GroupId {
    "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12".parse().unwrap()
}

fn user() -> UserId {
    "u_0190c2f47a5b7c3e8f1d2a4b6c8e0f01".parse().unwrap()
}

fn other() -> UserId {
    "u_0190c2f47a5b7c3e8f1d2a4b6c8e0f02".parse().unwrap()
}

/// Each frame under the name of its file.
pub(super) fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut frames = vec![
        ("server-events", events(group(), &all_kinds())),
        ("server-page", page(16, group(), &all_kinds()[..1], true)),
        ("server-page-empty", page(16, group(), [], false)),
    ];
    frames.extend(joined());
    frames.extend(welcomes());
    frames.extend(receipts());
    frames.extend(states());
    frames.extend(signals());
    frames.extend(errors());
    frames
}

fn signals() -> Vec<(&'static str, Vec<u8>)> {
    let signal = |kind| ServerFrame::Signal {
        group: group(),
        kind,
        user: user(),
    };
    encode([
        ("server-signal-typing", signal(HintKind::Typing)),
        ("server-signal-online", signal(HintKind::Online)),
        ("server-signal-offline", signal(HintKind::Offline)),
    ])
}

/// One event of each kind, and the forms of a message.
fn all_kinds() -> Vec<Entry> {
    let message = |reply_to, mentions| Content::Message {
        id: "m_0190c2f47a5b7c3e8f1d2a4b6c8e0f03".parse().unwrap(),
        body: Body::Text {
            text: "在吗 😀 \"\\\n".to_owned(),
        },
        reply_to,
        mentions,
    };
    let (user, role) = (other(), Role::Member);
    let contents = [
        message(None, Mentions::default()),
        message(Some(Position::new(3, 1830)), Mentions::Users(vec![other()])),
        message(None, serde_json::from_str("\"all\"").unwrap()),
        Content::Joined { user, role },
        Content::Role {
            user,
            role: Role::Admin,
        },
        Content::Left { user },
        Content::Removed { user },
        Content::Settings {
            name: Some("老街面馆 2 群".to_owned()),
        },
        Content::Lost {},
    ];
    let numbered = (1851..).zip(contents);
    numbered.map(|(seq, content)| entry(seq, content)).collect()
}

fn entry(seq: u64, content: Content) -> Entry {
    let key = [
        0x01, 0x90, 0xc2, 0xf4, 0x7a, 0x5b, 0x7c, 0x3e, 0x8f, 0x1d, 0x2a, 0x4b, 0, 0, 0, 4,
    ];
    let fixed = Fixed {
        client_id: qunliu::model::client_id::ClientId::from_bytes(key),
        sender: user(),
        at: AT,
        content,
    };
    let draft = Draft {
        group: group(),
        fixed,
    };
    draft.into_entry(Position::new(3, seq), 1200, 33)
}

fn joined() -> Vec<(&'static str, Vec<u8>)> {
    let state = GroupState {
        group: Group {
            id: group(),
            merchant: "t_0190c2f47a5b7c3e8f1d2a4b6c8e0f05".parse().unwrap(),
            name: "老街面馆 1 群".to_owned(),
            members: 12,
            created_at: AT,
        },
        role: Role::Member,
        joined: HEAD,
        head: HEAD,
        stored: HEAD,
        count: 1200,
        unread: 0,
        mentions: 0,
        last: all_kinds().into_iter().next(),
        last_at: AT,
    };
    let group = serde_json::value::to_raw_value(&GroupView::of(&state)).unwrap();
    encode([("server-joined", ServerFrame::Joined { group: &group })])
}

fn welcome(verdict: Verdict, rows: Vec<(u64, u64)>, pull: bool) -> GroupWelcome {
    let state = GroupNow {
        head: HEAD,
        stored: Position::new(3, 1849),
        unread: 4,
        mentions: 1,
        role: Role::Member,
    };
    GroupWelcome {
        group: group(),
        verdict,
        rows,
        pull,
        state: (verdict != Verdict::Gone).then_some(state),
    }
}

fn welcomes() -> Vec<(&'static str, Vec<u8>)> {
    let groups = [
        welcome(Verdict::Ok, vec![], false),
        welcome(Verdict::Pull, vec![], false),
        welcome(Verdict::Epoch, vec![(4, 1846)], false),
        welcome(Verdict::Epoch, vec![(4, 1846), (5, 1900)], true),
        welcome(Verdict::Gone, vec![], false),
    ];
    let user = User {
        id: user(),
        name: "li.lei".to_owned(),
        display_name: "李雷".to_owned(),
    };
    let limits = Limits {
        frame_bytes: 163_840,
        text_chars: 20_000,
        nesting: 32,
        mentions: 100,
    };
    let welcome = |groups, more| {
        ServerFrame::Welcome(Welcome {
            session: "s_0190c2f47a5b7c3e8f1d2a4b6c8e0f06".parse().unwrap(),
            user: &user,
            time: AT,
            heartbeat_s: 25,
            limits,
            features: &["send", "read"],
            groups,
            more,
        })
    };
    let following = [(
        "server-follow-done",
        ServerFrame::Done {
            id: 17,
            groups: Some(&groups[..1]),
        },
    )];
    let frames = [
        ("server-welcome", welcome(&groups, false)),
        ("server-welcome-first", welcome(&groups[..1], true)),
        (
            "server-welcome-more",
            ServerFrame::WelcomeMore {
                groups: &groups[1..],
            },
        ),
    ];
    encode(frames.into_iter().chain(following))
}

fn receipts() -> Vec<(&'static str, Vec<u8>)> {
    let (group, pos, at) = (group(), Position::new(3, 1851), AT);
    let message = Some("m_0190c2f47a5b7c3e8f1d2a4b6c8e0f03".parse().unwrap());
    encode([
        (
            "server-accepted",
            ServerFrame::Accepted {
                id: 12,
                group,
                pos,
                message,
                at,
            },
        ),
        ("server-stored", ServerFrame::Stored { group, pos }),
        (
            "server-done",
            ServerFrame::Done {
                id: 18,
                groups: None,
            },
        ),
    ])
}

fn states() -> Vec<(&'static str, Vec<u8>)> {
    let (group, from, head) = (group(), Position::new(3, 1851), Position::new(3, 1999));
    let epochs = BTreeMap::from([(group, vec![(4, 1846), (5, 1900)])]);
    let goaway = ServerFrame::Goaway {
        reason: "drain",
        reconnect_after_ms: 4200,
    };
    encode([
        (
            "server-heads",
            ServerFrame::Heads {
                heads: &[(group, HEAD, 4, 1)],
            },
        ),
        ("server-heads-empty", ServerFrame::Heads { heads: &[] }),
        ("server-epoch", ServerFrame::Epoch { groups: &epochs }),
        ("server-gone", ServerFrame::Gone { group }),
        ("server-resync", ServerFrame::Resync { group, from, head }),
        ("server-goaway", goaway),
    ])
}

fn errors() -> Vec<(&'static str, Vec<u8>)> {
    let bare = ErrorFrame {
        id: None,
        group: None,
        code: ErrorCode::TooLarge,
        message: "the message is over the limit of 163840 bytes",
        errors: &[],
        retry_after_ms: None,
        valid_up_to: None,
    };
    let field = WrongField {
        field: "body.text",
        detail: "must not be empty or blank",
    };
    let bad_request = ErrorFrame {
        id: Some(12),
        group: Some(group()),
        code: ErrorCode::BadRequest,
        message: "body.text: must not be empty or blank",
        errors: &[field],
        ..bare.clone()
    };
    let busy = ErrorFrame {
        id: Some(12),
        group: Some(group()),
        code: ErrorCode::Busy,
        message: "the log cannot take it now",
        retry_after_ms: Some(800),
        ..bare.clone()
    };
    let conflict = ErrorFrame {
        id: Some(16),
        group: Some(group()),
        code: ErrorCode::Conflict,
        message: "this position was lost with its epoch",
        valid_up_to: Some(Position::new(3, 1845)),
        ..bare.clone()
    };
    encode([
        ("server-error", ServerFrame::Error(bare)),
        ("server-error-field", ServerFrame::Error(bad_request)),
        ("server-error-busy", ServerFrame::Error(busy)),
        ("server-error-lost", ServerFrame::Error(conflict)),
    ])
}

/// The frames as text, each under a name that begins with that of its variant: a new variant does
/// not compile until it is named here.
fn encode<'a>(
    frames: impl IntoIterator<Item = (&'static str, ServerFrame<'a>)>,
) -> Vec<(&'static str, Vec<u8>)> {
    let named = |(name, frame): (&'static str, ServerFrame<'a>)| {
        assert!(name.contains(variant(&frame)), "{name}");
        (name, frame.encode())
    };
    frames.into_iter().map(named).collect()
}

const fn variant(frame: &ServerFrame<'_>) -> &'static str {
    match frame {
        ServerFrame::Welcome(_) => "welcome",
        ServerFrame::WelcomeMore { .. } => "welcome-more",
        ServerFrame::Accepted { .. } => "accepted",
        ServerFrame::Stored { .. } => "stored",
        ServerFrame::Done { .. } => "done",
        ServerFrame::Heads { .. } => "heads",
        ServerFrame::Epoch { .. } => "epoch",
        ServerFrame::Joined { .. } => "joined",
        ServerFrame::Gone { .. } => "gone",
        ServerFrame::Resync { .. } => "resync",
        ServerFrame::Signal { .. } => "signal",
        ServerFrame::Error(_) => "error",
        ServerFrame::Goaway { .. } => "goaway",
    }
}

#[test]
fn the_server_writes_its_golden_frames() {
    let write = env("QUNLIU_WRITE_WIRE").is_some_and(|value| value == "1");
    for (name, frame) in frames() {
        let text = String::from_utf8(frame).unwrap();
        if write {
            std::fs::write(path(name), format!("{text}\n")).unwrap();
        }
        assert_eq!(text, golden(name), "{name}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(parsed["type"].is_string(), "{name}");
    }
}
