//! How documents look: every collection with its fields, and how they are written and read.
//!
//! Names are short because MongoDB keeps them in every document. Numbers are 64-bit, ids and
//! positions binary (see [`key`]), times milliseconds since the Unix epoch.
//!
//! | collection | `_id` | fields |
//! | --- | --- | --- |
//! | `events`, clustered | group, position | `k` kind, `s` sender, `c` group and `client_id` (indexed), `d` digest, `n` C, `o` O, `t` time, `f` the fixed part as JSON text; (`s`, `k`, `_id`) is indexed too |
//! | `dead_letters` | consumer/group/position as text | `t` time, `reason`, `bytes` length of what could not be handled, `payload` its beginning |
//! | `fences` | digit, a 32-bit number | of each of its partitions ([`super::fences`]) `e` epoch, `h` history, `b` the number of its newest stamp, `c` how often it was confirmed without one |
//! | `tables` | group | `r` rows `[epoch, start, count]`, rising |
//! | `cursors`, clustered | user, group | `r` read mark `{p position, n C, o O}` |
//! | `inbox` | user, kind, group, position | `b` who mentioned, `t` time |
//! | `mentions_all` | group, position, who mentioned | none |

use bytes::Bytes;
use mongodb::bson::raw::{RawBinaryRef, cstr};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc, rawdoc};

use super::failure::{corrupt, failed};
use super::field::Reader;
use super::key;
use crate::model::client_id::ClientId;
use crate::model::digest::Digest;
use crate::model::epoch::{EpochTable, Row};
use crate::model::event::{Entry, Kind};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::model::unread::{ReadMark, Totals};
use crate::store::Result;
use crate::store::unread::Mention;

pub(super) const EVENTS: &str = "events";
pub(super) const DEAD_LETTERS: &str = "dead_letters";
pub(super) const FENCES: &str = "fences";
pub(super) const TABLES: &str = "tables";
pub(super) const CURSORS: &str = "cursors";
pub(super) const INBOX: &str = "inbox";
pub(super) const MENTIONS_ALL: &str = "mentions_all";

/// A count or an epoch as a field. They end at 2^53, far below where this would saturate.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn bytes(bytes: &[u8]) -> RawBinaryRef<'_> {
    RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

/// The document of an event.
///
/// # Errors
/// `Failed`: the fixed part is no UTF-8 text, which no log can have made.
pub(super) fn event(group: GroupId, entry: &Entry) -> Result<RawDocumentBuf> {
    let fixed = std::str::from_utf8(&entry.fixed).map_err(failed)?;
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), key::event(group, entry.pos));
    document.append(cstr!("k"), i32::from(entry.kind.code()));
    document.append(cstr!("s"), bytes(entry.sender.as_bytes()));
    document.append(cstr!("c"), key::send(group, entry.client_id));
    document.append(cstr!("d"), bytes(entry.digest.as_bytes()));
    document.append(cstr!("n"), number(entry.count));
    document.append(cstr!("o"), number(entry.sender_count));
    document.append(cstr!("t"), entry.at.as_millis());
    document.append(cstr!("f"), fixed);
    Ok(document)
}

/// The event of a document.
pub(super) fn read_event(document: &RawDocument) -> Result<Entry> {
    let reader = Reader::new(document, EVENTS);
    Ok(Entry {
        pos: event_position(document)?,
        kind: kind(document)?,
        sender: reader.parsed("s", UserId::from_slice)?,
        client_id: reader.parsed("c", client_id)?,
        digest: reader.parsed("d", Digest::from_slice)?,
        count: reader.number("n")?,
        sender_count: reader.number("o")?,
        at: Time::from_millis(reader.signed("t")?),
        fixed: Bytes::copy_from_slice(reader.text("f")?.as_bytes()),
    })
}

/// The event of a document that a query numbered with an index `i` below `len`.
pub(super) fn read_indexed_event(document: &RawDocument, len: usize) -> Result<(usize, Entry)> {
    let index = document.get_i32("i").ok();
    let index = index.and_then(|index| usize::try_from(index).ok());
    let index = index.filter(|index| *index < len);
    let index = index.ok_or_else(|| Reader::new(document, EVENTS).bad("i"))?;
    Ok((index, read_event(document)?))
}

/// The position of an event, of which no other field is needed.
pub(super) fn event_position(document: &RawDocument) -> Result<Position> {
    let place = |id: &[u8]| key::place(id, 0);
    Ok(Reader::new(document, EVENTS).parsed("_id", place)?.1)
}

/// The position and own total of an event.
pub(super) fn event_own(document: &RawDocument) -> Result<(Position, u64)> {
    let own = Reader::new(document, EVENTS).number("o")?;
    Ok((event_position(document)?, own))
}

/// A sender, how many events are theirs, and their own total; 0 if none of these is counted.
pub(super) fn sender_sums(document: &RawDocument) -> Result<(UserId, u64, u64)> {
    let reader = Reader::new(document, EVENTS);
    let sender = reader.parsed("_id", UserId::from_slice)?;
    Ok((sender, reader.number("n")?, reader.number("o")?))
}

fn kind(document: &RawDocument) -> Result<Kind> {
    let code = document.get_i32("k").ok();
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.and_then(Kind::from_code)
        .ok_or_else(|| corrupt("the kind of an event is not known to this version"))
}

fn client_id(send: &[u8]) -> Option<ClientId> {
    ClientId::from_slice(send.get(16..)?)
}

/// What makes an event the same one: sender, send, digest.
pub(super) type Identity = (UserId, ClientId, Digest);

/// The fields that [`event_identity`] needs.
pub(super) fn identity_fields() -> Document {
    doc! { "s": 1, "c": 1, "d": 1 }
}

/// The position of an event and what makes it the same one.
pub(super) fn event_identity(document: &RawDocument) -> Result<(Position, Identity)> {
    let reader = Reader::new(document, EVENTS);
    let identity = (
        reader.parsed("s", UserId::from_slice)?,
        reader.parsed("c", client_id)?,
        reader.parsed("d", Digest::from_slice)?,
    );
    Ok((event_position(document)?, identity))
}

/// The index of events by which one sender's messages are found among those of others.
pub(super) fn by_sender() -> Document {
    doc! { "s": 1, "k": 1, "_id": 1 }
}

/// The codes of the kinds that count, for a filter on `k`.
pub(super) fn counted_kinds() -> Vec<i32> {
    let counted = Kind::ALL.iter().filter(|kind| kind.is_counted());
    counted.map(|kind| i32::from(kind.code())).collect()
}

/// A row of a table as it is kept.
pub(super) fn row(row: Row) -> Bson {
    Bson::from([row.epoch, row.start, row.count].map(number).to_vec())
}

/// The group and table of a document.
pub(super) fn read_table(document: &RawDocument) -> Result<(GroupId, EpochTable)> {
    let reader = Reader::new(document, TABLES);
    let group = reader.parsed("_id", GroupId::from_slice)?;
    let rows = document.get_array("r").ok();
    let rows = rows.ok_or_else(|| reader.bad("r"))?.into_iter();
    let rows = rows.map(|value| {
        let row = value.ok().and_then(|value| read_row(value.as_array()?));
        row.ok_or_else(|| reader.bad("r"))
    });
    Ok((group, rows.collect::<Result<_>>()?))
}

fn read_row(row: &mongodb::bson::RawArray) -> Option<Row> {
    let number = |index| u64::try_from(row.get_i64(index).ok()?).ok();
    Some(Row::from((number(0)?, number(1)?, number(2)?)))
}

/// A read mark as it is kept.
pub(super) fn read_mark(mark: ReadMark) -> Document {
    let Totals { count, own } = mark.totals;
    doc! { "p": key::position(mark.pos), "n": number(count), "o": number(own) }
}

/// The group and read mark of a document.
pub(super) fn read_cursor(document: &RawDocument) -> Result<(GroupId, Option<ReadMark>)> {
    let reader = Reader::new(document, CURSORS);
    let group = |id: &[u8]| GroupId::from_slice(id.get(16..)?);
    let parse = |mark: Reader<'_>| -> Result<ReadMark> {
        let totals = Totals {
            count: mark.number("n")?,
            own: mark.number("o")?,
        };
        let pos = mark.position("p")?;
        Ok(ReadMark { pos, totals })
    };
    let mark = reader.inner("r")?.map(parse).transpose()?;
    Ok((reader.parsed("_id", group)?, mark))
}

/// The inbox entry of a mention.
pub(super) fn mention(
    user: UserId,
    group: GroupId,
    pos: Position,
    mention: &Mention,
) -> RawDocumentBuf {
    rawdoc! {
        "_id": key::mention(user, group, pos),
        "b": key::user(mention.by),
        "t": mention.at.as_millis(),
    }
}

/// The document of a mention of all.
pub(super) fn mention_all(group: GroupId, pos: Position, by: UserId) -> RawDocumentBuf {
    rawdoc! { "_id": key::mention_all(group, pos, by) }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocumentBuf;

    use super::*;

    const GROUP: GroupId = GroupId::from_bytes([2; 16]);
    const USER: UserId = UserId::from_bytes([1; 16]);
    const POS: Position = Position::new(3, 1851);

    fn raw(document: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(document).unwrap()
    }

    fn entry(kind: Kind) -> Entry {
        Entry {
            pos: POS,
            kind,
            sender: USER,
            client_id: ClientId::random(),
            digest: Digest::of(b"what"),
            count: 1200,
            sender_count: 33,
            at: Time::from_millis(-1),
            fixed: Bytes::from_static("{\"kind\":\"在吗\"}".as_bytes()),
        }
    }

    #[test]
    fn an_event_of_each_kind_reads_back() {
        for kind in Kind::ALL {
            let entry = entry(*kind);
            let document = event(GROUP, &entry).unwrap();
            assert_eq!(read_event(&document).unwrap(), entry);
            let identity = (entry.sender, entry.client_id, entry.digest);
            assert_eq!(event_identity(&document).unwrap(), (POS, identity));
            assert_eq!(event_own(&document).unwrap(), (POS, 33));
        }
    }

    #[test]
    fn a_damaged_event_is_unreadable_and_not_a_panic() {
        let mut whole = Document::try_from(&*event(GROUP, &entry(Kind::Message)).unwrap()).unwrap();
        for name in ["_id", "k", "s", "c", "d", "n", "o", "t", "f"] {
            let mut damaged = whole.clone();
            damaged.insert(name, Bson::Null);
            assert!(
                read_event(&raw(&damaged)).is_err(),
                "{name} of another type"
            );
            damaged.remove(name);
            assert!(read_event(&raw(&damaged)).is_err(), "{name} missing");
        }
        whole.insert("k", 99);
        assert!(
            read_event(&raw(&whole)).is_err(),
            "a kind of a newer version"
        );
    }

    #[test]
    fn a_table_reads_back() {
        let rows = [Row::from((1, 1, 0)), Row::from((3, 11, 9))];
        let document = doc! { "_id": key::group(GROUP), "r": rows.map(row).to_vec() };
        let table = rows.into_iter().collect();
        assert_eq!(read_table(&raw(&document)).unwrap(), (GROUP, table));
    }

    #[test]
    fn a_cursor_reads_back_with_its_mark_and_without() {
        let mark = ReadMark {
            pos: POS,
            totals: Totals { count: 5, own: 2 },
        };
        let mut document = doc! { "_id": key::cursor(USER, GROUP) };
        let read = |document: &Document| read_cursor(&raw(document)).unwrap().1;
        assert_eq!(read(&document), None);
        document.insert("r", read_mark(mark));
        assert_eq!(read(&document), Some(mark));
        assert_eq!(read_cursor(&raw(&document)).unwrap().0, GROUP);
    }
}
