//! Events: what a group's log holds, and all that members see (protocol.md, "An event").
//!
//! [`Draft`] is an event before it has a position. [`Entry`] is one as the log and the message
//! store keep it: the numbers that the append gave, beside the rest as JSON text that is written
//! once and never parsed again on its way to a socket. [`Event`] is the parsed form, for those
//! who must look inside.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client_id::ClientId;
use super::digest::Digest;
use super::id::{GroupId, MessageId, UserId};
use super::message::{Body, Mentions};
use super::position::Position;
use super::role::Role;
use super::time::Time;

/// What happened. As JSON the field `kind` and the fields of the variant, flat in the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A message was sent. The only kind that counts as unread.
    Message {
        /// The message's id.
        id: MessageId,
        /// What it says.
        body: Body,
        /// The event that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply_to: Option<Position>,
        /// Whom it mentions.
        #[serde(default, skip_serializing_if = "Mentions::is_empty")]
        mentions: Mentions,
    },
    /// `user` became a member. Seq 1 of a group is its creator's.
    Joined {
        /// Whom it concerns.
        user: UserId,
        /// The role now.
        role: Role,
    },
    /// `user` left.
    Left {
        /// Whom it concerns.
        user: UserId,
    },
    /// `user` was removed by the sender.
    Removed {
        /// Whom it concerns.
        user: UserId,
    },
    /// The role of `user` changed.
    Role {
        /// Whom it concerns.
        user: UserId,
        /// The role now.
        role: Role,
    },
    /// The group's settings changed; only what changed is there.
    Settings {
        /// The new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Something was here that could not be kept; it lies among the dead letters. It holds the
    /// position, so that the log stays dense.
    Lost {},
}

/// The kind of an event without its content, small enough to route by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Content::Message`].
    Message,
    /// [`Content::Joined`].
    Joined,
    /// [`Content::Left`].
    Left,
    /// [`Content::Removed`].
    Removed,
    /// [`Content::Role`].
    Role,
    /// [`Content::Settings`].
    Settings,
    /// [`Content::Lost`].
    Lost,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Message,
        Self::Joined,
        Self::Left,
        Self::Removed,
        Self::Role,
        Self::Settings,
        Self::Lost,
    ];

    /// The number that the log and the stores keep. It never changes its meaning.
    pub const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Joined => 2,
            Self::Left => 3,
            Self::Removed => 4,
            Self::Role => 5,
            Self::Settings => 6,
            Self::Lost => 255,
        }
    }

    /// The kind with this number; `None` for one that this version does not know.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether events of this kind count as unread and in `count`.
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::Message)
    }

    /// Whether events of this kind take rights away or change them, so that a permit made
    /// before one must be asked for again (dataflow.md, `mv`).
    pub const fn changes_rights(self) -> bool {
        match self {
            Self::Left | Self::Removed | Self::Role | Self::Settings => true,
            Self::Message | Self::Joined | Self::Lost => false,
        }
    }

    /// Whether events of this kind change who is a member, or in which role.
    pub const fn changes_membership(self) -> bool {
        match self {
            Self::Joined | Self::Left | Self::Removed | Self::Role => true,
            Self::Message | Self::Settings | Self::Lost => false,
        }
    }
}

impl Content {
    /// Whose membership this changes.
    pub const fn member(&self) -> Option<UserId> {
        match self {
            Self::Joined { user, .. }
            | Self::Left { user }
            | Self::Removed { user }
            | Self::Role { user, .. } => Some(*user),
            Self::Message { .. } | Self::Settings { .. } | Self::Lost {} => None,
        }
    }

    /// The kind of this content.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Message { .. } => Kind::Message,
            Self::Joined { .. } => Kind::Joined,
            Self::Left { .. } => Kind::Left,
            Self::Removed { .. } => Kind::Removed,
            Self::Role { .. } => Kind::Role,
            Self::Settings { .. } => Kind::Settings,
            Self::Lost {} => Kind::Lost,
        }
    }

    /// The id of the message, for a message.
    pub const fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::Message { id, .. } => Some(*id),
            Self::Joined { .. }
            | Self::Left { .. }
            | Self::Removed { .. }
            | Self::Role { .. }
            | Self::Settings { .. }
            | Self::Lost {} => None,
        }
    }

    /// The digest of what the sender said: kind, body, `reply_to` and mentions as typed values,
    /// without the message's id, which the server chose (protocol.md, "Receipts").
    pub fn digest(&self) -> Digest {
        let text = match self {
            Self::Message {
                body,
                reply_to,
                mentions,
                ..
            } => serde_json::to_vec(&("message", body, reply_to, mentions)),
            other => serde_json::to_vec(other),
        };
        Digest::of(&text.expect("plain data without maps always serialises"))
    }
}

/// The part of an event that is fixed before it has a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fixed {
    /// The idempotency key.
    pub client_id: ClientId,
    /// Who sent or acted.
    pub sender: UserId,
    /// When it was first offered to the log.
    pub at: Time,
    /// What happened.
    #[serde(flatten)]
    pub content: Content,
}

/// An event that is about to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The log it goes to.
    pub group: GroupId,
    /// All but the numbers that the append gives.
    pub fixed: Fixed,
}

/// An event as the log and the message store keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub pos: Position,
    /// What kind it is.
    pub kind: Kind,
    /// Who sent or acted.
    pub sender: UserId,
    /// The idempotency key.
    pub client_id: ClientId,
    /// What the sender said, in short.
    pub digest: Digest,
    /// Messages in the group up to and with this event (C).
    pub count: u64,
    /// Messages of this sender up to and with this event (O).
    pub sender_count: u64,
    /// When it was first offered to the log.
    pub at: Time,
    /// [`Fixed`] as one JSON object.
    pub fixed: Bytes,
}

/// An event whose content is needed.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(description = "An event of a group's log, as frames and pages carry it.")]
pub struct Event {
    /// Where it stands.
    pub pos: Position,
    /// Messages in the group up to and with this event (C).
    pub count: u64,
    /// Messages of this sender up to and with this event (O).
    pub sender_count: u64,
    /// The rest.
    #[schemars(flatten)]
    pub fixed: Fixed,
}

impl Draft {
    /// The fixed part as the JSON object that will be kept.
    pub fn encode(&self) -> Bytes {
        self.fixed.encode()
    }

    /// The entry that this draft becomes at `pos` with these totals.
    pub fn into_entry(self, pos: Position, count: u64, sender_count: u64) -> Entry {
        self.fixed.into_entry(pos, count, sender_count)
    }
}

impl Fixed {
    fn encode(&self) -> Bytes {
        let text = serde_json::to_vec(self);
        Bytes::from(text.expect("plain data with string keys always serialises"))
    }

    fn into_entry(self, pos: Position, count: u64, sender_count: u64) -> Entry {
        Entry {
            pos,
            kind: self.content.kind(),
            sender: self.sender,
            client_id: self.client_id,
            digest: self.content.digest(),
            count,
            sender_count,
            at: self.at,
            fixed: self.encode(),
        }
    }
}

impl Entry {
    /// What holds the place of an event that cannot be kept or read, or is nowhere any more. It is
    /// the same for everyone but for `at`.
    pub fn lost(group: GroupId, pos: Position, count: u64, at: Time) -> Self {
        let mut key = pos.to_bytes();
        let salted = key.iter_mut().zip(group.as_bytes());
        salted.for_each(|(byte, salt)| *byte ^= salt);
        let fixed = Fixed {
            client_id: ClientId::from_bytes(key),
            sender: UserId::from_bytes([0; 16]),
            at,
            content: Content::Lost {},
        };
        fixed.into_entry(pos, count, 0)
    }
}

/// The part of an event's JSON that the append gave; the kept text without its `{` goes behind.
pub fn write_numbers(out: &mut Vec<u8>, pos: Position, count: u64, sender_count: u64) {
    use std::io::Write as _;
    let Position { epoch, seq } = pos;
    write!(
        out,
        r#"{{"pos":[{epoch},{seq}],"count":{count},"sender_count":{sender_count},"#
    )
    .expect("writing to a Vec cannot fail");
}

impl Entry {
    /// Parses the kept text.
    ///
    /// # Errors
    /// The text is not an event that this version knows: it was damaged, or a newer version
    /// wrote it.
    pub fn event(&self) -> Result<Event, serde_json::Error> {
        Ok(Event {
            pos: self.pos,
            count: self.count,
            sender_count: self.sender_count,
            fixed: serde_json::from_slice(&self.fixed)?,
        })
    }

    /// Appends the event as it goes over the wire to `out`: the numbers, then the kept text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_numbers(out, self.pos, self.count, self.sender_count);
        out.extend_from_slice(self.fixed.get(1..).unwrap_or(b"}"));
    }

    /// The entry that [`Entry::write_json`] wrote. What only the text holds, as the digest, is
    /// made anew.
    ///
    /// # Errors
    /// The text is not an event that this version knows.
    pub fn read_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Written {
            pos: Position,
            count: u64,
            sender_count: u64,
            #[serde(flatten)]
            fixed: Fixed,
        }
        let Written {
            pos,
            count,
            sender_count,
            fixed,
        } = serde_json::from_slice(json)?;
        Ok(fixed.into_entry(pos, count, sender_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Draft {
        let at = Time::from_millis(1_764_000_000_000);
        let content = Content::Message {
            id: MessageId::generate(at),
            body: Body::Text {
                text: text.to_owned(),
            },
            reply_to: None,
            mentions: Mentions::default(),
        };
        let sender = UserId::generate(at);
        let fixed = Fixed {
            client_id: ClientId::random(),
            sender,
            at,
            content,
        };
        Draft {
            group: GroupId::generate(at),
            fixed,
        }
    }

    #[test]
    fn an_entry_keeps_what_the_draft_said() {
        let draft = draft("在吗");
        let entry = draft.clone().into_entry(Position::new(3, 1851), 1200, 33);
        let event = entry.event().unwrap();
        assert_eq!(event.fixed, draft.fixed);
        let mut json = Vec::new();
        entry.write_json(&mut json);
        let wire: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(wire["pos"], serde_json::json!([3, 1851]));
        assert_eq!(wire["kind"], "message");
        assert_eq!(wire["body"]["text"], "在吗");
        assert_eq!(wire["sender_count"], 33);
        assert_eq!(Entry::read_json(&json).unwrap(), entry);
    }

    #[test]
    fn the_digest_tells_contents_apart_and_not_message_ids() {
        let (one, two, other) = (draft("a"), draft("a"), draft("b"));
        assert_eq!(one.fixed.content.digest(), two.fixed.content.digest());
        assert_ne!(one.fixed.content.digest(), other.fixed.content.digest());
    }

    #[test]
    fn kind_codes_read_back() {
        assert!(
            Kind::ALL
                .iter()
                .all(|kind| Kind::from_code(kind.code()) == Some(*kind))
        );
    }
}
