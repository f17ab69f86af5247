//! How fences look: the 16 of a digit are one document, so that confirming a batch of many
//! partitions is a few updates and not one for each.
//!
//! A field is a letter and the second hex digit of its partition, as in `e0`: the letters are those
//! of [`super::layout`].

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, RawDocument, doc};

use super::field::Reader;
use super::layout::{FENCES, number};
use crate::model::id::Partition;
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::epochs::{Fence, Stamp, Stamped};

/// The partitions of a digit.
const EACH: u8 = 16;

/// The document with the fence of a partition.
pub(super) fn id(partition: Partition) -> i32 {
    i32::from(partition.digit())
}

fn field(letter: char, partition: Partition) -> String {
    format!("{letter}{:x}", partition.0 % EACH)
}

/// The change that sets a fence if it is `from`, or if there is none. Texts are literals, since a
/// history that begins with a dollar would be read as a field.
pub(super) fn raise(partition: Partition, from: Option<&Fence>, to: &Fence) -> Document {
    let (epoch, history) = (field('e', partition), field('h', partition));
    let (now_epoch, now_history) = (format!("${epoch}"), format!("${history}"));
    let literal = |history: &str| doc! { "$literal": history };
    let condition = match from {
        None => doc! { "$eq": [{ "$type": &now_epoch }, "missing"] },
        Some(from) => doc! { "$and": [
            { "$eq": [&now_epoch, number(from.epoch)] },
            { "$eq": [&now_history, literal(&from.history)] },
        ] },
    };
    doc! {
        epoch: { "$cond": [condition.clone(), number(to.epoch), now_epoch] },
        history: { "$cond": [condition, literal(&to.history), now_history] },
    }
}

/// Statements that match if each fence has its epoch, and count that they did.
pub(super) fn confirm(fences: &[(Partition, Epoch)]) -> Vec<Document> {
    by_document(
        fences,
        |(partition, _)| *partition,
        |(partition, epoch), statement| {
            statement
                .query
                .insert(field('e', *partition), number(*epoch));
            statement.change.insert(field('c', *partition), 1_i64);
        },
    )
    .map(|statement| doc! { "q": statement.query, "u": { "$inc": statement.change } })
    .collect()
}

/// Statements that match if each fence has its epoch and number, and set the next number. The number
/// of a fence that was never stamped is missing.
pub(super) fn stamp(stamps: &[Stamp]) -> Vec<Document> {
    by_document(
        stamps,
        |stamp| stamp.partition,
        |stamp, statement| {
            let first = doc! { "$in": [0_i64, Bson::Null] };
            let from = match stamp.from {
                0 => first.into(),
                from => Bson::from(number(from)),
            };
            let (epoch, batch) = (field('e', stamp.partition), field('b', stamp.partition));
            statement.query.insert(epoch, number(stamp.epoch));
            statement.query.insert(batch.clone(), from);
            statement.change.insert(batch, number(stamp.to));
        },
    )
    .map(|statement| doc! { "q": statement.query, "u": { "$set": statement.change } })
    .collect()
}

/// What is asked of one document, and what is changed in it.
struct Statement {
    query: Document,
    change: Document,
}

fn by_document<T>(
    items: &[T],
    partition: impl Fn(&T) -> Partition,
    add: impl Fn(&T, &mut Statement),
) -> impl Iterator<Item = Statement> {
    let mut statements = BTreeMap::new();
    for item in items {
        let id = id(partition(item));
        let statement = statements.entry(id).or_insert_with(|| Statement {
            query: doc! { "_id": id },
            change: Document::new(),
        });
        add(item, statement);
    }
    statements.into_values()
}

/// The fences of a document that there are.
pub(super) fn read(document: &RawDocument) -> Result<Vec<(Partition, Stamped)>> {
    let reader = Reader::new(document, FENCES);
    let digit = document.get_i32("_id").ok();
    let digit = digit
        .and_then(|id| u8::try_from(id).ok())
        .filter(|digit| *digit < EACH);
    let digit = digit.ok_or_else(|| reader.bad("_id"))?;
    let partitions = (0..EACH).map(|low| Partition(digit * EACH + low));
    let fence = |partition| Some((partition, read_one(reader, partition).transpose()?));
    let found = partitions.filter_map(fence);
    found
        .map(|(partition, stamped)| Ok((partition, stamped?)))
        .collect()
}

fn read_one(reader: Reader<'_>, partition: Partition) -> Result<Option<Stamped>> {
    let epoch = reader.optional_number(&field('e', partition))?;
    if epoch == 0 {
        return Ok(None);
    }
    let history = reader.text(&field('h', partition))?.to_owned();
    Ok(Some(Stamped {
        fence: Some(Fence { epoch, history }),
        batch: Some(reader.optional_number(&field('b', partition))?),
    }))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::RawDocumentBuf;

    use super::*;

    fn read_back(document: &Document) -> Result<Vec<(Partition, Stamped)>> {
        read(&RawDocumentBuf::try_from(document).unwrap())
    }

    fn stamped(epoch: u64, history: &str, batch: u64) -> Stamped {
        let history = history.to_owned();
        let fence = Some(Fence { epoch, history });
        Stamped {
            fence,
            batch: Some(batch),
        }
    }

    #[test]
    fn fences_read_back_with_their_partitions() {
        let document =
            doc! { "_id": 10, "e0": 3_i64, "h0": "one", "b0": 7_i64, "ef": 1_i64, "hf": "two" };
        let expected = [
            (Partition(0xa0), stamped(3, "one", 7)),
            (Partition(0xaf), stamped(1, "two", 0)),
        ];
        assert_eq!(read_back(&document).unwrap(), expected);
        assert_eq!(read_back(&doc! { "_id": 10 }).unwrap(), []);
    }

    #[test]
    fn what_is_no_fence_is_corrupt() {
        for document in [
            doc! { "_id": 16, "e0": 3_i64, "h0": "one" },
            doc! { "_id": -1 },
            doc! { "_id": 1, "e0": 3_i64 },
            doc! { "_id": 1, "e0": "3", "h0": "one" },
        ] {
            assert!(read_back(&document).is_err(), "{document}");
        }
    }

    #[test]
    fn stamps_of_one_digit_are_one_statement() {
        let stamp = |partition, from| Stamp {
            partition: Partition(partition),
            epoch: 2,
            from,
            to: from + 1,
        };
        let statements = super::stamp(&[stamp(0xa0, 4), stamp(0xb1, 0), stamp(0xa1, 9)]);
        let expected = [
            doc! {
                "q": { "_id": 10, "e0": 2_i64, "b0": 4_i64, "e1": 2_i64, "b1": 9_i64 },
                "u": { "$set": { "b0": 5_i64, "b1": 10_i64 } },
            },
            doc! {
                "q": { "_id": 11, "e1": 2_i64, "b1": { "$in": [0_i64, Bson::Null] } },
                "u": { "$set": { "b1": 1_i64 } },
            },
        ];
        assert_eq!(statements, expected);
    }
}
