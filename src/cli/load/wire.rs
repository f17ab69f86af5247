//! The frames that a client reads and writes, as this client sees them (protocol.md): only the
//! fields it needs. Unknown fields and unknown frame types are ignored, as the protocol asks of
//! clients. These types are not the server's, so that a mistake in one does not hide in both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::client_id::ClientId;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Epoch, Position, Seq};

/// A frame from the server.
#[derive(Debug, Clone)]
pub enum ServerFrame {
    /// The first frame of a socket.
    Welcome(Welcome),
    /// Groups that did not fit into the welcome.
    WelcomeMore(Welcome),
    /// A send has its position.
    Accepted(Accepted),
    /// All up to a position is durable.
    Stored(At),
    /// Events of a group, pushed.
    Events(Events),
    /// The answer to a pull.
    Page(Page),
    /// The answer to a read or a token.
    Done(Done),
    /// Where groups stand that were not pushed.
    Heads(Heads),
    /// Logs that were re-opened after a loss.
    Epoch(EpochTold),
    /// One became a member.
    Joined(Joined),
    /// One is no member any more.
    Gone(OfGroup),
    /// The queue overflowed.
    Resync(Resync),
    /// A frame was refused, or the socket is about to close.
    Error(Refused),
    /// The node goes away.
    Goaway(Goaway),
    /// A type that this client has no use for or does not know.
    Other,
}

/// `{"type":"welcome","heartbeat_s":25,"groups":[…],"more":true}`
#[derive(Debug, Clone, Deserialize)]
pub struct Welcome {
    /// The beat of heads, in seconds.
    #[serde(default)]
    pub heartbeat_s: Option<f64>,
    /// The groups of the user.
    #[serde(default)]
    pub groups: Vec<WelcomeGroup>,
}

/// How a group stands after hello.
#[derive(Debug, Clone, Deserialize)]
pub struct WelcomeGroup {
    /// The group.
    pub group: GroupId,
    /// What follows.
    #[serde(default)]
    pub verdict: Verdict,
    /// The end of the log.
    #[serde(default)]
    pub head: Position,
    /// The durable watermark.
    #[serde(default)]
    pub stored: Position,
    /// With the verdict `epoch`: what was not told yet.
    #[serde(default)]
    pub rows: Vec<(Epoch, Seq)>,
    /// With the verdict `epoch`: also too far behind.
    #[serde(default)]
    pub pull: bool,
}

/// What a cursor was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Missed events follow.
    #[default]
    Ok,
    /// Too far behind: the client pulls.
    Pull,
    /// The log was re-opened since.
    Epoch,
    /// One is no member any more.
    Gone,
}

/// `{"type":"accepted","id":12,"group":"g_…","pos":[3,1851]}`
#[derive(Debug, Clone, Deserialize)]
pub struct Accepted {
    /// The id of the send.
    pub id: u64,
    /// Where the message stands.
    pub pos: Position,
}

/// A group and a position in it.
#[derive(Debug, Clone, Deserialize)]
pub struct At {
    /// The group.
    pub group: GroupId,
    /// The position.
    pub pos: Position,
}

/// A frame about a group as a whole.
#[derive(Debug, Clone, Deserialize)]
pub struct OfGroup {
    /// The group.
    pub group: GroupId,
}

/// `{"type":"events","group":"g_…","events":[…]}`
#[derive(Debug, Clone, Deserialize)]
pub struct Events {
    /// The group.
    pub group: GroupId,
    /// In order, without holes.
    pub events: Vec<Event>,
}

/// `{"type":"page","id":16,"group":"g_…","events":[…],"more":true}`
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// The id of the pull.
    pub id: u64,
    /// Ascending, without holes.
    pub events: Vec<Event>,
    /// Whether there is further.
    #[serde(default)]
    pub more: bool,
}

/// One event, by push, page or REST.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Where it stands.
    pub pos: Position,
    /// What it is, as `message` or `joined`.
    pub kind: String,
    /// Who sent it.
    #[serde(default)]
    pub sender: Option<UserId>,
    /// What it says, for a message that was not recalled.
    #[serde(default)]
    pub body: Option<Body>,
}

/// The body of a message; kinds other than text have none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Body {
    /// The text.
    #[serde(default)]
    pub text: String,
}

/// `{"type":"done","id":17}`
#[derive(Debug, Clone, Deserialize)]
pub struct Done {
    /// The id of the frame that is done.
    pub id: u64,
}

/// `{"type":"heads","heads":[["g_…",[3,1851],4,1]]}`
#[derive(Debug, Clone, Deserialize)]
pub struct Heads {
    /// Group, head, unread, mentions.
    pub heads: Vec<(GroupId, Position, u64, u64)>,
}

/// `{"type":"epoch","groups":{"g_…":[[4,1846]]}}`
#[derive(Debug, Clone, Deserialize)]
pub struct EpochTold {
    /// Per group the epochs that began, and where.
    pub groups: BTreeMap<GroupId, Vec<(Epoch, Seq)>>,
}

/// `{"type":"joined","group":{…}}`
#[derive(Debug, Clone, Deserialize)]
pub struct Joined {
    /// The group, with its head.
    pub group: JoinedGroup,
}

/// A group as `joined` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct JoinedGroup {
    /// The group, as REST names it.
    #[serde(alias = "group")]
    pub id: GroupId,
    /// Its head.
    #[serde(default)]
    pub head: Position,
}

/// `{"type":"resync","group":"g_…","from":[3,1851],"head":[3,1999]}`
#[derive(Debug, Clone, Deserialize)]
pub struct Resync {
    /// The group.
    pub group: GroupId,
    /// Up to where the node knows that nothing was pushed.
    pub head: Position,
}

/// `{"type":"error","id":12,"code":"busy","message":"…","retry_after_ms":800}`
#[derive(Debug, Clone, Deserialize)]
pub struct Refused {
    /// The frame it answers.
    #[serde(default)]
    pub id: Option<u64>,
    /// What kind of refusal.
    pub code: String,
    /// What is wrong, in words.
    #[serde(default)]
    pub message: String,
    /// When a retry may help.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}

/// `{"type":"goaway","reason":"drain","reconnect_after_ms":4200}`
#[derive(Debug, Clone, Deserialize)]
pub struct Goaway {
    /// When to come back.
    #[serde(default)]
    pub reconnect_after_ms: u64,
}

impl ServerFrame {
    /// Whether a socket may begin with this frame: the welcome, or what stands in for it.
    pub const fn may_come_first(&self) -> bool {
        matches!(self, Self::Welcome(_) | Self::Error(_) | Self::Goaway(_))
    }

    /// Reads a frame. The type is found first, then exactly its own struct is read: an enum
    /// tagged from within would buffer every event once more.
    ///
    /// # Errors
    /// The text is not a frame, or lacks a field that the protocol promises.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, serde_json::Error> {
            serde_json::from_str(text)
        }
        let typed: Typed<'_> = serde_json::from_str(text)?;
        match typed.kind.as_ref() {
            "events" => read(text).map(Self::Events),
            "accepted" => read(text).map(Self::Accepted),
            "stored" => read(text).map(Self::Stored),
            "welcome" => read(text).map(Self::Welcome),
            "welcome_more" => read(text).map(Self::WelcomeMore),
            "page" => read(text).map(Self::Page),
            "done" => read(text).map(Self::Done),
            "heads" => read(text).map(Self::Heads),
            "epoch" => read(text).map(Self::Epoch),
            "joined" => read(text).map(Self::Joined),
            "gone" => read(text).map(Self::Gone),
            "resync" => read(text).map(Self::Resync),
            "error" => read(text).map(Self::Error),
            "goaway" => read(text).map(Self::Goaway),
            _ => Ok(Self::Other),
        }
    }
}

/// A frame to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Who one is and what one holds.
    Hello {
        /// The access token.
        token: String,
        /// The name of this client, the same through all reconnects.
        device: String,
        /// What is held of each group.
        cursors: BTreeMap<GroupId, Position>,
    },
    /// A message.
    Send {
        /// The id that answers carry.
        id: u64,
        /// Where to.
        group: GroupId,
        /// The idempotency key.
        client_id: ClientId,
        /// What it says.
        body: Said,
        /// On every re-send: the head known at the first try.
        #[serde(skip_serializing_if = "Option::is_none")]
        again: Option<Position>,
    },
    /// How far one has read.
    Read {
        /// The id that the answer carries.
        id: u64,
        /// The group.
        group: GroupId,
        /// The last position read.
        pos: Position,
    },
    /// Asks for what was missed.
    Pull {
        /// The id that the page carries.
        id: u64,
        /// The group.
        group: GroupId,
        /// The last position held.
        after: Position,
        /// How many events at most.
        limit: u32,
    },
    /// Renews the authorisation of the socket.
    Token {
        /// The id that the answer carries.
        id: u64,
        /// The new access token.
        token: String,
    },
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Said {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
}

impl ClientFrame {
    /// The frame as text.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("plain data with string keys always serialises")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12";

    #[test]
    fn a_frame_with_unknown_fields_is_read() {
        let text = format!(
            r#"{{"new":{{"type":"page"}},"type":"events","group":"{GROUP}","events":[{{"pos":[1,2],
            "kind":"message","body":{{"kind":"text","text":"在吗","x":1}},"y":[]}}]}}"#
        );
        let ServerFrame::Events(events) = ServerFrame::parse(&text).unwrap() else {
            panic!("not events");
        };
        assert_eq!(events.events[0].body.as_ref().unwrap().text, "在吗");
    }

    #[test]
    fn an_unknown_type_is_ignored() {
        let frame = ServerFrame::parse(r#"{"type":"aurora","pos":3}"#).unwrap();
        assert!(matches!(frame, ServerFrame::Other));
    }

    #[test]
    fn only_a_re_send_carries_again() {
        let send = |again| {
            ClientFrame::Send {
                id: 1,
                group: GROUP.parse().unwrap(),
                client_id: ClientId::random(),
                body: Said::Text {
                    text: "x".to_owned(),
                },
                again,
            }
            .encode()
        };
        assert!(!send(None).contains("again"));
        assert!(send(Some(Position::new(3, 4))).contains(r#""again":[3,4]"#));
        assert!(send(None).contains(r#""type":"send""#));
    }
}
