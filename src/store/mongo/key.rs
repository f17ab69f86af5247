//! Binary keys: the ids of documents, made of ids and positions so that they sort as those do.
//!
//! MongoDB compares binary values by length first and then byte by byte, so all keys of a
//! collection are of one length and a range of them is a range of positions.

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};

use crate::model::client_id::ClientId;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;

/// Above every position.
pub(super) const LAST: Position = Position::new(u64::MAX, u64::MAX);

/// Bytes as MongoDB keeps them.
pub(super) fn binary(bytes: &[u8]) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    }
}

/// A position as a field.
pub(super) fn position(pos: Position) -> Binary {
    binary(&pos.to_bytes())
}

/// A group's own key.
pub(super) fn group(group: GroupId) -> Binary {
    binary(group.as_bytes())
}

/// A person as a field.
pub(super) fn user(user: UserId) -> Binary {
    binary(user.as_bytes())
}

/// Of an event: group, position.
pub(super) fn event(group: GroupId, pos: Position) -> Binary {
    joined(&[group.as_bytes(), &pos.to_bytes()])
}

/// Of a send, in the index that finds it again: group, `client_id`.
pub(super) fn send(group: GroupId, client_id: ClientId) -> Binary {
    joined(&[group.as_bytes(), client_id.as_bytes()])
}

/// Of a cursor: user, group.
pub(super) fn cursor(user: UserId, group: GroupId) -> Binary {
    joined(&[user.as_bytes(), group.as_bytes()])
}

/// Of a mention in a person's inbox: user, kind of entry, group, position.
pub(super) fn mention(user: UserId, group: GroupId, pos: Position) -> Binary {
    joined(&[
        user.as_bytes(),
        &[MENTION],
        group.as_bytes(),
        &pos.to_bytes(),
    ])
}

/// Of a mention of all: group, position, who mentioned. The last is part of the key so that the
/// index alone answers whose it was.
pub(super) fn mention_all(group: GroupId, pos: Position, by: UserId) -> Binary {
    joined(&[group.as_bytes(), &pos.to_bytes(), by.as_bytes()])
}

/// The kind of an inbox entry that is a mention. It never changes its meaning.
const MENTION: u8 = 1;

/// The group and position in the middle of a key, after `skip` bytes.
pub(super) fn place(key: &[u8], skip: usize) -> Option<(GroupId, Position)> {
    let group = GroupId::from_slice(key.get(skip..skip + 16)?)?;
    let pos = Position::from_slice(key.get(skip + 16..skip + 32)?)?;
    Some((group, pos))
}

/// How many bytes of a mention's key come before its group.
pub(super) const MENTION_SKIP: usize = 17;

/// Documents with `after < _id ≤ upto`.
pub(super) fn above(after: Binary, upto: Binary) -> Document {
    doc! { "_id": { "$gt": after, "$lte": upto } }
}

fn joined(parts: &[&[u8]]) -> Binary {
    binary(&parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_keys_sort_by_group_then_epoch_then_seq() {
        let (low, high) = (GroupId::from_bytes([7; 16]), GroupId::from_bytes([8; 16]));
        let keys = [
            event(low, Position::START),
            event(low, Position::new(1, 255)),
            event(low, Position::new(1, 256)),
            event(low, Position::new(2, 1)),
            event(low, LAST),
            event(high, Position::START),
        ];
        assert!(keys.is_sorted_by(|a, b| a.bytes < b.bytes));
    }

    #[test]
    fn keys_tell_their_group_and_position() {
        let (user, group) = (UserId::from_bytes([1; 16]), GroupId::from_bytes([2; 16]));
        let pos = Position::new(3, 1851);
        let key = mention(user, group, pos).bytes;
        assert_eq!(place(&key, MENTION_SKIP), Some((group, pos)));
        assert_eq!(
            place(&mention_all(group, pos, user).bytes, 0),
            Some((group, pos))
        );
        assert_eq!(place(&key[..20], 0), None);
    }
}
