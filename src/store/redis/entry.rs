//! The form of events and heads in Redis. `functions/log.lua` (HEAD, META, REMEMBERED) knows it too:
//! they must be changed together.

use std::ops::Range;

use bytes::Bytes;
use redis::Value;

use super::fault::corrupt;
use super::reply::{at, bytes, field, list, number, position};
use crate::model::client_id::ClientId;
use crate::model::digest::Digest;
use crate::model::event::{Draft, Entry, Kind, write_numbers};
use crate::model::id::{GroupId, MessageId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::model::trace::Trace;
use crate::store::Result;
use crate::store::log::{Head, Receipt};

/// The bytes of META.
const META: usize = 73;

/// Those of its time.
const META_TIME: Range<usize> = 49..57;

/// What stands in META for an event that is no message.
const NO_MESSAGE: [u8; 16] = [0; 16];

/// The fixed part of a draft but its text: what the functions compare and remember.
pub(super) fn meta(draft: &Draft) -> Vec<u8> {
    let fixed = &draft.fixed;
    let message = fixed.content.message_id();
    let mut meta = Vec::with_capacity(META);
    meta.push(fixed.content.kind().code());
    meta.extend_from_slice(fixed.sender.as_bytes());
    meta.extend_from_slice(fixed.client_id.as_bytes());
    meta.extend_from_slice(fixed.content.digest().as_bytes());
    meta.extend_from_slice(&fixed.at.as_millis().to_be_bytes());
    meta.extend_from_slice(message.as_ref().map_or(&NO_MESSAGE, |id| id.as_bytes()));
    meta
}

/// The entry with this id and these fields.
pub(super) fn entry(id: &Value, fields: &Value) -> Result<Entry> {
    let pos = position(id)?;
    let fields = list(fields)?;
    let mut meta = Cut(bytes(field(fields, "m")?)?);
    let [kind] = meta.cut()?;
    let kind = Kind::from_code(kind).ok_or_else(|| corrupt(format!("kind {kind} at {pos}")))?;
    Ok(Entry {
        pos,
        kind,
        sender: UserId::from_bytes(meta.cut()?),
        client_id: ClientId::from_bytes(meta.cut()?),
        digest: digest(meta.cut()?)?,
        at: Time::from_millis(i64::from_be_bytes(meta.cut()?)),
        count: number(field(fields, "c")?)?,
        sender_count: number(field(fields, "o")?)?,
        fixed: Bytes::copy_from_slice(bytes(field(fields, "b")?)?),
    })
}

/// What there is of an event that cannot be read: as [`Entry::write_json`] puts it if the text
/// and the totals are there, which a newer version will read; else the text as it is.
pub(super) fn remains(pos: Position, fields: &Value) -> Vec<u8> {
    let fields = list(fields).unwrap_or_default();
    let text = field(fields, "b").and_then(bytes).unwrap_or_default();
    let total = |name| field(fields, name).and_then(number);
    let mut json = Vec::new();
    match (total("c"), total("o"), text.split_first()) {
        (Ok(count), Ok(own), Some((b'{', rest))) => {
            write_numbers(&mut json, pos, count, own);
            json.extend_from_slice(rest);
        }
        _ => json.extend_from_slice(text),
    }
    json
}

/// What an entry with these fields belongs to, if that was kept.
pub(super) fn trace(fields: &Value) -> Option<Trace> {
    let kept = field(list(fields).ok()?, "t").ok()?;
    Trace::from_bytes(bytes(kept).ok()?)
}

/// The entries of a list of ids and fields of a group. One that cannot be read is shown as lost,
/// which is what the message store will have in its place: it must hold up no other.
pub(super) fn entries(group: GroupId, listed: &Value) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in list(listed)? {
        let item = list(item)?;
        let (id, fields) = (at(item, 0)?, at(item, 1)?);
        let shown = match entry(id, fields) {
            Ok(entry) => entry,
            Err(error) => {
                let pos = position(id)?;
                tracing::debug!(%group, %pos, %error, "an event is shown as lost");
                lost(group, pos, fields, entries.last())
            }
        };
        entries.push(shown);
    }
    Ok(entries)
}

/// With the total and the time that it kept, if those can be read, else with those of the one before.
fn lost(group: GroupId, pos: Position, fields: &Value, before: Option<&Entry>) -> Entry {
    let fields = list(fields).unwrap_or_default();
    let count = field(fields, "c").and_then(number);
    let meta = field(fields, "m").and_then(bytes);
    let time = meta
        .ok()
        .and_then(|meta| meta.get(META_TIME)?.try_into().ok());
    let time = time.map(|bytes| Time::from_millis(i64::from_be_bytes(bytes)));
    let (count_before, time_before) =
        before.map_or_else(Default::default, |one| (one.count, one.at));
    let count = count.unwrap_or(count_before);
    Entry::lost(group, pos, count, time.unwrap_or(time_before))
}

/// The receipt in REMEMBERED.
pub(super) fn remembered(value: &Value, stored: Position) -> Result<Receipt> {
    let mut rest = Cut(bytes(value)?);
    let _digest: [u8; 16] = rest.cut()?;
    let at = Time::from_millis(i64::from_be_bytes(rest.cut()?));
    let message = rest.cut()?;
    let numbers = str::from_utf8(rest.0)
        .ok()
        .and_then(|text| text.split_once(' '));
    let (pos, count) = numbers.ok_or_else(|| corrupt("a memory without a position"))?;
    let (Ok(pos), Ok(count)) = (pos.parse(), count.parse()) else {
        return Err(corrupt("a memory without a position"));
    };
    let message = (message != NO_MESSAGE).then(|| MessageId::from_bytes(message));
    Ok(Receipt {
        pos,
        message,
        at,
        count,
        stored,
    })
}

/// The head in HEAD.
pub(super) fn head(kept: &str) -> Result<Head> {
    let read = || {
        let mut words = kept.split(' ');
        Some(Head {
            pos: words.next()?.parse().ok()?,
            count: words.next()?.parse().ok()?,
            rights: words.next()?.parse().ok()?,
            at: Time::from_millis(words.next()?.parse().ok()?),
            stored: words.next()?.parse().ok()?,
        })
    };
    read().ok_or_else(|| corrupt(format!("a head: {kept}")))
}

fn digest(bytes: [u8; 16]) -> Result<Digest> {
    Digest::from_slice(&bytes).ok_or_else(|| corrupt("a digest"))
}

/// Bytes that are cut from the front.
struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn cut<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| corrupt("a short record"))?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Content, Fixed};
    use crate::model::message::{Body, Mentions};

    const AT: Time = Time::from_millis(1_764_000_000_000);

    fn draft(content: Content) -> Draft {
        let (sender, client_id) = (UserId::generate(AT), ClientId::random());
        let fixed = Fixed {
            client_id,
            sender,
            at: AT,
            content,
        };
        Draft {
            group: GroupId::generate(AT),
            fixed,
        }
    }

    fn message() -> Draft {
        let body = Body::Text {
            text: "在吗\r\n\0".to_owned(),
        };
        let id = MessageId::generate(AT);
        draft(Content::Message {
            id,
            body,
            reply_to: None,
            mentions: Mentions::default(),
        })
    }

    fn text(text: impl Into<Vec<u8>>) -> Value {
        Value::BulkString(text.into())
    }

    fn fields(draft: &Draft) -> Value {
        let pairs = [
            ("m", meta(draft)),
            ("c", b"1200".to_vec()),
            ("o", b"33".to_vec()),
            ("b", draft.encode().to_vec()),
        ];
        Value::Array(
            pairs
                .into_iter()
                .flat_map(|(name, value)| [text(name), text(value)])
                .collect(),
        )
    }

    #[test]
    fn an_entry_reads_back_what_was_written() {
        for draft in [
            message(),
            draft(Content::Left {
                user: UserId::generate(AT),
            }),
        ] {
            let read = entry(&text("3-1851"), &fields(&draft)).unwrap();
            assert_eq!(read, draft.into_entry(Position::new(3, 1851), 1200, 33));
        }
    }

    #[test]
    fn a_memory_reads_back_as_the_receipt() {
        for draft in [
            message(),
            draft(Content::Left {
                user: UserId::generate(AT),
            }),
        ] {
            let mut value = meta(&draft).split_off(33);
            value.extend_from_slice(b"3-1851 1200");
            let receipt = remembered(&text(value), Position::START).unwrap();
            assert_eq!((receipt.pos, receipt.count), (Position::new(3, 1851), 1200));
            assert_eq!(
                (receipt.message, receipt.at),
                (draft.fixed.content.message_id(), AT)
            );
        }
    }

    #[test]
    fn a_head_reads_back() {
        let expected = Head {
            pos: Position::new(3, 1851),
            count: 1200,
            rights: Position::new(3, 1800),
            at: AT,
            stored: Position::new(3, 1850),
        };
        let kept = "3-1851 1200 3-1800 1764000000000 3-1850 0";
        assert_eq!(head(kept).unwrap(), expected);
        assert!(head("3-1851 1200").is_err());
    }

    #[test]
    fn what_remains_of_an_unknown_kind_is_the_whole_event() {
        let draft = message();
        let Value::Array(mut fields) = fields(&draft) else {
            panic!("fields are a list");
        };
        fields[1] = text([9; META]);
        let fields = Value::Array(fields);
        let pos = Position::new(3, 1851);
        assert!(entry(&text("3-1851"), &fields).is_err());
        let read = Entry::read_json(&remains(pos, &fields)).unwrap();
        assert_eq!(read, draft.into_entry(pos, 1200, 33));
        let torn = Value::Array(vec![text("b"), text("{\"cl")]);
        assert_eq!(remains(pos, &torn), b"{\"cl");
        assert_eq!(remains(pos, &Value::Nil), b"");
    }

    #[test]
    fn what_cannot_be_read_holds_its_place_and_no_other_up() {
        let draft = message();
        let Value::Array(mut unknown) = fields(&draft) else {
            panic!("fields are a list");
        };
        let mut newer = meta(&draft);
        newer[0] = 63;
        unknown[1] = text(newer);
        let torn = Value::Array(vec![text("m"), text("")]);
        let items = [fields(&draft), Value::Array(unknown), torn, fields(&draft)];
        let ids = ["3-1", "3-2", "3-3", "3-4"].map(text);
        let items = ids.into_iter().zip(items);
        let listed = Value::Array(
            items
                .map(|(id, fields)| Value::Array(vec![id, fields]))
                .collect(),
        );
        let group = draft.group;
        let at = |seq| Position::new(3, seq);
        let whole = |seq| draft.clone().into_entry(at(seq), 1200, 33);
        let lost = |seq| Entry::lost(group, at(seq), 1200, AT);
        assert_eq!(
            entries(group, &listed).unwrap(),
            [whole(1), lost(2), lost(3), whole(4)]
        );
    }

    #[test]
    fn what_was_cut_short_is_corrupt() {
        assert!(entry(&text("3-1851"), &Value::Array(vec![text("m"), text("")])).is_err());
        assert!(entry(&text("3"), &fields(&message())).is_err());
        assert!(remembered(&text("short"), Position::START).is_err());
    }
}
