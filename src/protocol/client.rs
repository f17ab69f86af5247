//! Frames from clients (protocol.md, "Client to server"). To add one: a struct, a variant of
//! [`ClientFrame`] with its line in [`ClientFrame::parse`], and one function in
//! `ingress/socket/commands.rs`.

use std::collections::HashMap;

use serde::Deserialize;

use super::json::{self, Invalid, Known, Outline};
use crate::model::client_id::ClientId;
use crate::model::id::GroupId;
use crate::model::message::{Body, Mentions};
use crate::model::position::{PART_MAX, Position};

/// The longest frame a client may send, in bytes, so that a text of the longest size fits in any
/// escaping.
pub const FRAME_BYTES_MAX: usize = 160 * 1024;

/// The most cursors in a `hello` or a `follow`.
pub const CURSORS_MAX: usize = 500;

/// The most events in a page.
pub const PULL_MAX: u32 = 200;

/// A frame from a client. Each field is documented by its example in the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// The first frame: who one is, and where one stopped.
    Hello(Hello),
    /// Sends a message.
    Send(Send),
    /// Moves the own read mark.
    Read(Read),
    /// Asks for a piece of a log.
    Pull(Pull),
    /// Chooses what is pushed of some groups.
    Follow(Follow),
    /// Says that one writes a message.
    Typing(Typing),
    /// Renews the authorisation of the open socket.
    Token(Token),
}

/// `{"type":"hello","token":"…","device":"web-7f3a","cursors":{"g_…":[3,1841]}}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    #[serde(rename = "type")]
    _type: Known,
    /// An access token; either this or a ticket is given.
    #[serde(default)]
    pub token: Option<String>,
    /// A ticket of `/v1/auth/ticket`.
    #[serde(default)]
    pub ticket: Option<String>,
    /// One tab or one installation of the user; 1 to 64 characters.
    pub device: String,
    /// The last position held of each group; at most [`CURSORS_MAX`].
    #[serde(default)]
    pub cursors: HashMap<GroupId, Position>,
}

/// `{"type":"send","id":12,"group":"g_…","client_id":"…","body":{…},"reply_to":[3,1830]}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    #[serde(rename = "type")]
    _type: Known,
    /// Comes back in the answer.
    pub id: u64,
    /// Where to.
    pub group: GroupId,
    /// The idempotency key.
    pub client_id: ClientId,
    /// What is said.
    pub body: Body,
    /// The event that is answered.
    #[serde(default)]
    pub reply_to: Option<Position>,
    /// Who is mentioned.
    #[serde(default)]
    pub mentions: Mentions,
    /// For a re-send: the head known at the first try.
    #[serde(default)]
    pub again: Option<Position>,
}

/// `{"type":"read","group":"g_…","pos":[3,1851]}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    #[serde(rename = "type")]
    _type: Known,
    /// Given if an answer is wanted.
    #[serde(default)]
    pub id: Option<u64>,
    /// The group.
    pub group: GroupId,
    /// The last position read.
    pub pos: Position,
}

/// `{"type":"pull","id":16,"group":"g_…","after":[3,1841],"limit":100}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    #[serde(rename = "type")]
    _type: Known,
    /// Comes back in the answer.
    pub id: u64,
    /// The group.
    pub group: GroupId,
    /// The exclusive lower bound; exactly one of the two is given.
    #[serde(default)]
    pub after: Option<Position>,
    /// The exclusive upper bound.
    #[serde(default)]
    pub before: Option<Position>,
    /// 1 to [`PULL_MAX`].
    #[serde(default = "default_pull")]
    pub limit: u32,
}

const fn default_pull() -> u32 {
    100
}

/// `{"type":"follow","id":17,"groups":{"g_…":[3,1841],"g_…":null},"level":"full"}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follow {
    #[serde(rename = "type")]
    _type: Known,
    /// Comes back in the answer.
    pub id: u64,
    /// From where; `None` from the head. At most [`CURSORS_MAX`].
    pub groups: HashMap<GroupId, Option<Position>>,
    /// What is pushed.
    pub level: Level,
}

/// How much of a group is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every event.
    Full,
    /// Heads only.
    Head,
    /// Nothing.
    None,
}

/// `{"type":"typing","group":"g_…"}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    #[serde(rename = "type")]
    _type: Known,
    /// Where.
    pub group: GroupId,
}

/// `{"type":"token","id":18,"token":"…"}`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    #[serde(rename = "type")]
    _type: Known,
    /// Comes back in the answer.
    pub id: u64,
    /// A fresh access token of the same session.
    pub token: String,
}

/// Why a frame is refused, with what the answer can refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The frame's `id`, if it could be read.
    pub id: Option<u64>,
    /// The frame's group, if it could be read.
    pub group: Option<GroupId>,
    /// What is wrong.
    pub invalid: Invalid,
}

impl ClientFrame {
    /// Parses one text frame of at most [`FRAME_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// The first thing that is wrong with it, by field.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let outline =
            json::check(text.as_bytes()).map_err(|(outline, invalid)| refuse(&outline, invalid))?;
        let text = text.as_bytes();
        let parsed = match outline.frame.as_deref() {
            Some("hello") => json::parse(text).map(Self::Hello),
            Some("send") => json::parse(text).map(Self::Send),
            Some("read") => json::parse(text).map(Self::Read),
            Some("pull") => json::parse(text).map(Self::Pull),
            Some("follow") => json::parse(text).map(Self::Follow),
            Some("typing") => json::parse(text).map(Self::Typing),
            Some("token") => json::parse(text).map(Self::Token),
            Some(other) => Err(no_type(format!("there is no frame type `{other}`"))),
            None => Err(no_type("a frame needs a short string `type`".to_owned())),
        };
        let frame = parsed.map_err(|invalid| refuse(&outline, invalid))?;
        frame
            .validate()
            .map_err(|invalid| refuse(&outline, invalid))?;
        Ok(frame)
    }

    /// Its `type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Send(_) => "send",
            Self::Read(_) => "read",
            Self::Pull(_) => "pull",
            Self::Follow(_) => "follow",
            Self::Typing(_) => "typing",
            Self::Token(_) => "token",
        }
    }

    /// The request that an answer refers to.
    const fn id(&self) -> Option<u64> {
        match self {
            Self::Hello(_) | Self::Typing(_) => None,
            Self::Send(send) => Some(send.id),
            Self::Read(read) => read.id,
            Self::Pull(pull) => Some(pull.id),
            Self::Follow(follow) => Some(follow.id),
            Self::Token(token) => Some(token.id),
        }
    }

    /// Checks what the types do not say.
    fn validate(&self) -> Result<(), Invalid> {
        if self.id().is_some_and(|id| id > PART_MAX) {
            return Err(invalid("id", "must be at most 2^53-1"));
        }
        match self {
            Self::Hello(hello) => hello.validate(),
            Self::Send(send) => validate_message(&send.body, &send.mentions),
            Self::Pull(pull) => pull.validate(),
            Self::Follow(follow) => at_most("groups", follow.groups.len(), CURSORS_MAX),
            Self::Read(_) | Self::Typing(_) | Self::Token(_) => Ok(()),
        }
    }
}

impl Hello {
    fn validate(&self) -> Result<(), Invalid> {
        at_most("cursors", self.cursors.len(), CURSORS_MAX)?;
        match self.device.chars().count() {
            1..=64 if !self.device.chars().any(char::is_control) => Ok(()),
            _ => Err(invalid(
                "device",
                "must be 1 to 64 characters without control characters",
            )),
        }
    }
}

impl Pull {
    fn validate(&self) -> Result<(), Invalid> {
        if self.after.is_some() == self.before.is_some() {
            return Err(invalid(
                "after",
                "exactly one of `after` and `before` must be given",
            ));
        }
        if !(1..=PULL_MAX).contains(&self.limit) {
            return Err(invalid("limit", &format!("must be 1 to {PULL_MAX}")));
        }
        Ok(())
    }
}

/// Checks a message's content, of a frame and of a REST body alike.
///
/// # Errors
/// The field that is out of its bounds.
pub fn validate_message(body: &Body, mentions: &Mentions) -> Result<(), Invalid> {
    use crate::model::message::MENTIONS_MAX;
    at_most("mentions", mentions.users().len(), MENTIONS_MAX)?;
    body.validate()
        .map_err(|wrong| invalid(&format!("body.{}", wrong.field), &wrong.detail))
}

fn at_most(field: &str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max {
        return Err(invalid(
            field,
            &format!("holds {count}, at most {max} are allowed"),
        ));
    }
    Ok(())
}

fn invalid(field: &str, detail: &str) -> Invalid {
    Invalid {
        field: field.to_owned(),
        detail: detail.to_owned(),
    }
}

fn no_type(detail: String) -> Invalid {
    Invalid {
        field: "type".to_owned(),
        detail,
    }
}

fn refuse(outline: &Outline, invalid: Invalid) -> Refused {
    let group = outline
        .group
        .as_deref()
        .and_then(|group| group.parse().ok());
    Refused {
        id: outline.id,
        group,
        invalid,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assume, proptest};
    use proptest::sample::Index;

    use super::*;

    const GROUP: &str = "g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12";
    const KEY: &str = "0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12";

    fn refused(text: &str) -> Refused {
        ClientFrame::parse(text).unwrap_err()
    }

    #[test]
    fn a_send_is_read_whole() {
        let text = format!(
            r#"{{"type":"send","id":12,"group":"{GROUP}","client_id":"{KEY}",
               "body":{{"kind":"text","text":"在吗"}},"reply_to":[3,1830],"mentions":"all"}}"#
        );
        let ClientFrame::Send(send) = ClientFrame::parse(&text).unwrap() else {
            panic!("not a send")
        };
        assert_eq!(send.reply_to, Some(Position::new(3, 1830)));
        assert!(send.mentions.is_all());
    }

    #[test]
    fn an_error_names_the_field_and_the_id() {
        let text = format!(
            r#"{{"type":"send","id":12,"group":"{GROUP}","client_id":"{KEY}","body":{{"kind":"text","text":5}}}}"#
        );
        let refused = refused(&text);
        assert_eq!(refused.invalid.field, "body.text");
        assert_eq!(refused.id, Some(12));
        assert_eq!(
            refused.group.map(|group| group.to_string()).as_deref(),
            Some(GROUP)
        );
    }

    #[test]
    fn unknown_fields_and_types_are_named() {
        let pull = format!(r#"{{"type":"pull","id":1,"group":"{GROUP}","aftr":[1,1]}}"#);
        assert_eq!(refused(&pull).invalid.field, "aftr");
        let unknown = refused(r#"{"type":"sned","id":3}"#);
        assert!(unknown.invalid.detail.contains("sned"));
        assert_eq!(unknown.id, Some(3));
    }

    #[test]
    fn bounds_are_told() {
        let pull =
            format!(r#"{{"type":"pull","id":1,"group":"{GROUP}","after":[1,1],"limit":201}}"#);
        assert_eq!(refused(&pull).invalid.field, "limit");
        let both =
            format!(r#"{{"type":"pull","id":1,"group":"{GROUP}","after":[1,1],"before":[1,9]}}"#);
        assert!(refused(&both).invalid.detail.contains("exactly one"));
    }

    /// A good send, of which one byte is replaced, one piece removed or one piece doubled.
    fn damaged() -> impl Strategy<Value = String> {
        let good = format!(
            r#"{{"type":"send","id":12,"group":"{GROUP}","client_id":"{KEY}","body":{{"kind":"text",
               "text":"\\u5728吗"}},"reply_to":[3,1830],"mentions":["u_{}"],"again":[3,1]}}"#,
            &GROUP[2..]
        );
        let (from, length, byte) = (any::<Index>(), 0..40_usize, any::<u8>());
        (from, length, byte, 0..3_u8).prop_map(move |(from, length, byte, how)| {
            let mut bytes = good.clone().into_bytes();
            let from = from.index(bytes.len());
            let upto = (from + length).min(bytes.len());
            match how {
                0 => bytes[from] = byte,
                1 => drop(bytes.drain(from..upto)),
                _ => {
                    let piece = bytes[from..upto].to_vec();
                    bytes.splice(from..from, piece);
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            drop(ClientFrame::parse(&text));
        }

        #[test]
        fn a_damaged_frame_is_refused_with_a_reason_or_is_within_its_bounds(text in damaged()) {
            match ClientFrame::parse(&text) {
                Err(refused) => prop_assert!(!refused.invalid.detail.is_empty()),
                Ok(ClientFrame::Send(send)) => {
                    prop_assert!(validate_message(&send.body, &send.mentions).is_ok());
                }
                Ok(other) => prop_assert!(false, "{text} became {other:?}"),
            }
        }

        #[test]
        fn an_unknown_field_is_always_named(name in "[a-z]{3,12}") {
            prop_assume!(!["type", "group", "pos", "id"].contains(&&*name));
            let text = format!(r#"{{"type":"read","group":"{GROUP}","pos":[1,1],"{name}":1}}"#);
            let refused = ClientFrame::parse(&text).unwrap_err();
            prop_assert!(refused.invalid.detail.contains(&name), "{refused:?}");
        }
    }
}
