//! Sample data: people, groups and entries as a log would have made them.

use qunliu::model::client_id::ClientId;
use qunliu::model::event::{Content, Draft, Entry, Fixed};
use qunliu::model::id::{GroupId, MessageId, UserId};
use qunliu::model::message::{Body, Mentions};
use qunliu::model::position::Position;
use qunliu::model::time::Time;

/// When everything in the samples happens.
pub(crate) const AT: Time = Time::from_millis(1_764_000_000_123);

/// A new group.
pub(crate) fn group() -> GroupId {
    GroupId::generate(AT)
}

/// A new person.
pub(crate) fn user() -> UserId {
    UserId::generate(AT)
}

/// The position `(epoch, seq)`.
pub(crate) const fn at(epoch: u64, seq: u64) -> Position {
    Position::new(epoch, seq)
}

/// What a message with this text says.
pub(crate) fn text(text: &str) -> Content {
    Content::Message {
        id: MessageId::generate(AT),
        body: Body::Text {
            text: text.to_owned(),
        },
        reply_to: None,
        mentions: Mentions::default(),
    }
}

/// An entry under a given key, with totals that follow from its seq.
pub(crate) fn entry(pos: Position, sender: UserId, client_id: ClientId, content: Content) -> Entry {
    let fixed = Fixed {
        client_id,
        sender,
        at: AT,
        content,
    };
    let draft = Draft {
        group: group(),
        fixed,
    };
    draft.into_entry(pos, pos.seq * 10, pos.seq)
}

/// A message of a new sender under a new key.
pub(crate) fn message(pos: Position, said: &str) -> Entry {
    entry(pos, user(), ClientId::random(), text(said))
}
