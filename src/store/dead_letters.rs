//! Dead letters: events that a consumer could not handle, kept until an operator has them handled
//! again or takes them away. In flows what [`crate::store::consumers::Delivery::payload`] tells;
//! nothing here reads it.
//!
//! Promises, each a case in `tests/it/contract/dead_letters.rs`:
//! - What was kept survives what a kept event survives (see [`super::messages`]).
//! - Keeping a letter again changes nothing: the first reason and time stay.
//! - Pages by `after` meet each letter once, whatever is kept or removed meanwhile.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use super::Result;
use super::consumers::Consumer;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::model::time::Time;

/// Which letter: a consumer has at most one for each position. As text `persist/g_…/3-1851`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LetterId {
    /// Who could not handle it.
    pub consumer: Consumer,
    /// The event's group.
    pub group: GroupId,
    /// The event's position.
    pub pos: Position,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.consumer.name(), self.group, self.pos)
    }
}

/// The text names no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a letter as `list` names it: consumer/group/position")]
pub struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> std::result::Result<Self, InvalidLetterId> {
        let read = || {
            let mut parts = text.splitn(3, '/');
            Some(Self {
                consumer: Consumer::named(parts.next()?)?,
                group: parts.next()?.parse().ok()?,
                pos: parts.next()?.parse().ok()?,
            })
        };
        read().ok_or(InvalidLetterId)
    }
}

/// What is known of a letter without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Which one.
    pub id: LetterId,
    /// When it was put aside first; 1970 if a version before this one did it.
    pub at: Time,
    /// Why, in words; a store may keep the beginning only.
    pub reason: String,
    /// How long the payload was; a store may keep the beginning only.
    pub bytes: u64,
}

/// Which letters to list.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Of this consumer.
    pub consumer: Consumer,
    /// Of this group, or of all.
    pub group: Option<GroupId>,
    /// Behind this one, in an order that is the store's own.
    pub after: Option<LetterId>,
    /// At most so many.
    pub limit: usize,
}

/// Keeps dead letters, beside the messages.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Keeps a letter.
    ///
    /// # Errors
    /// `Unavailable`: it was perhaps not kept; keep it again before the event is acknowledged.
    async fn keep(&self, id: LetterId, at: Time, payload: &[u8], reason: &str) -> Result<()>;

    /// A page of letters.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` for a letter that cannot be read.
    async fn list(&self, page: Page) -> Result<Vec<Letter>>;

    /// What is known of the event of a letter, up to what the store keeps; `None` if there is no
    /// such letter.
    ///
    /// # Errors
    /// As [`DeadLetters::list`].
    async fn payload(&self, id: LetterId) -> Result<Option<Vec<u8>>>;

    /// Takes a letter away; doing it again changes nothing.
    ///
    /// # Errors
    /// `Unavailable`: it is perhaps still there.
    async fn remove(&self, id: LetterId) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = LetterId {
            consumer: Consumer::Unread,
            group: GroupId::from_bytes([7; 16]),
            pos: Position::new(3, 1851),
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "persist", "other/x/1-1", "unread/g_1/1-1"] {
            assert_eq!(wrong.parse::<LetterId>(), Err(InvalidLetterId), "{wrong}");
        }
    }
}
