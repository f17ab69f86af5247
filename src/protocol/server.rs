//! Frames to clients (protocol.md, "Server to client"), as JSON text. Events are written by
//! [`Entry::write_json`] and never parsed on the way.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::code::ErrorCode;
use crate::model::epoch::Row;
use crate::model::event::Entry;
use crate::model::hint::HintKind;
use crate::model::id::{GroupId, MessageId, SessionId, UserId};
use crate::model::position::{Epoch, Position, Seq};
use crate::model::role::Role;
use crate::model::time::Time;
use crate::model::user::User;

/// A frame to a client, but for those that carry events: [`events`] and [`page`].
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The first frame.
    Welcome(Welcome<'a>),
    /// Further groups of the welcome.
    WelcomeMore {
        /// At most 500.
        groups: &'a [GroupWelcome],
    },
    /// A send stands in the log.
    Accepted {
        /// The send's.
        id: u64,
        /// The group.
        group: GroupId,
        /// Where.
        pos: Position,
        /// The message's id.
        message: Option<MessageId>,
        /// The message's time.
        at: Time,
    },
    /// Everything valid up to here is durable.
    Stored {
        /// The group.
        group: GroupId,
        /// The watermark.
        pos: Position,
    },
    /// Something that was asked for is done.
    Done {
        /// The request's.
        id: u64,
        /// For `follow`: the groups, as in the welcome.
        #[serde(skip_serializing_if = "Option::is_none")]
        groups: Option<&'a [GroupWelcome]>,
    },
    /// Heads of groups that were not pushed.
    Heads {
        /// Group, head, unread, mentions.
        heads: &'a [(GroupId, Position, u64, u64)],
    },
    /// Epochs that began.
    Epoch {
        /// Per group every (epoch, start) above what was told.
        groups: &'a BTreeMap<GroupId, EpochRows>,
    },
    /// One became a member.
    Joined {
        /// The group as REST tells it.
        group: &'a RawValue,
    },
    /// One is no longer a member.
    Gone {
        /// The group.
        group: GroupId,
    },
    /// Pushes were dropped.
    Resync {
        /// The group.
        group: GroupId,
        /// The last event that was pushed.
        from: Position,
        /// The last event that was dropped.
        head: Position,
    },
    /// Something told in passing.
    Signal {
        /// The group.
        group: GroupId,
        /// What somebody does.
        kind: HintKind,
        /// Who.
        user: UserId,
    },
    /// Something went wrong.
    Error(ErrorFrame<'a>),
    /// The server goes away.
    Goaway {
        /// Why: `drain`.
        reason: &'a str,
        /// When to come back.
        reconnect_after_ms: u64,
    },
}

/// See [`ServerFrame::Welcome`].
#[derive(Debug, Clone, Serialize)]
pub struct Welcome<'a> {
    /// The log-in.
    pub session: SessionId,
    /// Who one is.
    pub user: &'a User,
    /// The server's time.
    pub time: Time,
    /// Seconds between heartbeats.
    pub heartbeat_s: u64,
    /// The bounds for what one sends.
    pub limits: Limits,
    /// What this server understands beyond version 1's beginning.
    pub features: &'a [&'a str],
    /// At most 500 groups, those with a cursor first.
    pub groups: &'a [GroupWelcome],
    /// Whether `welcome_more` follows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The bounds for what a client sends.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// Bytes of a frame.
    pub frame_bytes: usize,
    /// Characters of a text.
    pub text_chars: usize,
    /// Depth of arrays and objects.
    pub nesting: usize,
    /// People mentioned in a message.
    pub mentions: usize,
}

/// What becomes of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Missed events follow.
    Ok,
    /// Too far: pull.
    Pull,
    /// Epochs began since: apply the rows.
    Epoch,
    /// Not a member.
    Gone,
}

/// One group of a welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupWelcome {
    /// The group.
    pub group: GroupId,
    /// What becomes of the cursor.
    pub verdict: Verdict,
    /// For [`Verdict::Epoch`]: (epoch, start) above what the client holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<(Epoch, Seq)>,
    /// For [`Verdict::Epoch`]: also too far.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// What the socket is at; absent when gone, as all below.
    #[serde(flatten)]
    pub state: Option<GroupNow>,
}

/// What a group is at for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GroupNow {
    /// The last event.
    pub head: Position,
    /// The stored watermark.
    pub stored: Position,
    /// Messages unread.
    pub unread: u64,
    /// Mentions unread.
    pub mentions: u64,
    /// The own role.
    pub role: Role,
}

/// The epochs of one group that a socket is told.
pub type EpochRows = Vec<(Epoch, Seq)>;

/// The part of a row that clients are told.
pub fn told(row: Row) -> (Epoch, Seq) {
    (row.epoch, row.start)
}

/// See [`ServerFrame::Error`].
#[derive(Debug, Clone, Serialize)]
pub struct ErrorFrame<'a> {
    /// The request's, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The request's group, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// What kind of failure.
    pub code: ErrorCode,
    /// For the developer of the client.
    pub message: &'a str,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [WrongField<'a>],
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// For a reference to a dead position: the last valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_up_to: Option<Position>,
}

/// A field that is wrong.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WrongField<'a> {
    /// Its path.
    pub field: &'a str,
    /// What is wrong.
    pub detail: &'a str,
}

impl ServerFrame<'_> {
    /// The frame as JSON text.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with string keys always serialises")
    }
}

/// `{"type":"events","group":"g_…","events":[EVENT,…]}`
pub fn events<'a>(group: GroupId, entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut out = format!(r#"{{"type":"events","group":"{group}","events":"#).into_bytes();
    write_list(&mut out, entries);
    out.push(b'}');
    out
}

/// As [`events`], of events that are encoded already, with commas between them.
pub fn events_of(group: GroupId, list: &[u8]) -> Vec<u8> {
    let begin = format!(r#"{{"type":"events","group":"{group}","events":["#);
    [begin.as_bytes(), list, b"]}"].concat()
}

/// `{"type":"page","id":16,"group":"g_…","events":[…],"more":true}`
pub fn page<'a>(
    id: u64,
    group: GroupId,
    entries: impl IntoIterator<Item = &'a Entry>,
    more: bool,
) -> Vec<u8> {
    let mut out = format!(r#"{{"type":"page","id":{id},"group":"{group}","events":"#).into_bytes();
    write_list(&mut out, entries);
    out.extend_from_slice(format!(r#","more":{more}}}"#).as_bytes());
    out
}

/// A JSON list of events, as in frames and in REST pages.
pub fn write_list<'a>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = &'a Entry>) {
    out.push(b'[');
    for (index, entry) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        entry.write_json(out);
    }
    out.push(b']');
}
