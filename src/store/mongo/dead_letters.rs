//! Dead letters, a document each, whose id an operator can read in any shell.

use async_trait::async_trait;
use mongodb::bson::{Document, RawDocument, doc};

use super::database::{Db, Query};
use super::failure::corrupt;
use super::field::Reader;
use super::key;
use super::layout::DEAD_LETTERS;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::dead_letters::{DeadLetters, Letter, LetterId, Page};

/// How much of a payload is kept: half of what a document may hold.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// How much of a reason is kept.
const REASON_BYTES_MAX: usize = 4096;

/// [`DeadLetters`] in MongoDB.
pub(super) struct MongoDeadLetters {
    db: Db,
}

impl MongoDeadLetters {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl DeadLetters for MongoDeadLetters {
    async fn keep(&self, id: LetterId, at: Time, payload: &[u8], reason: &str) -> Result<()> {
        let beginning = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
        let reason_end = reason.floor_char_boundary(REASON_BYTES_MAX);
        let letter = doc! {
            "t": at.as_millis(),
            "reason": &reason[..reason_end],
            "bytes": i64::try_from(payload.len()).unwrap_or(i64::MAX),
            "payload": key::binary(beginning),
        };
        let letters = self.db.collection(DEAD_LETTERS);
        let keep = letters.update_one(named(id), doc! { "$setOnInsert": letter });
        self.db.call(keep.upsert(true)).await.map(drop)
    }

    async fn list(&self, page: Page) -> Result<Vec<Letter>> {
        let query = Query {
            fields: doc! { "t": 1, "reason": 1, "bytes": 1 },
            order: 1,
            limit: page.limit,
            ..Query::all(filter(page))
        };
        self.db.find(DEAD_LETTERS, query, letter).await
    }

    async fn payload(&self, id: LetterId) -> Result<Option<Vec<u8>>> {
        let query = Query {
            limit: 1,
            ..Query::all(named(id))
        };
        let read = |document: &RawDocument| {
            let payload = Reader::new(document, DEAD_LETTERS).bytes("payload")?;
            Ok(payload.to_vec())
        };
        Ok(self.db.find(DEAD_LETTERS, query, read).await?.pop())
    }

    async fn remove(&self, id: LetterId) -> Result<()> {
        let letters = self.db.collection(DEAD_LETTERS);
        self.db.call(letters.delete_one(named(id))).await.map(drop)
    }
}

fn named(id: LetterId) -> Document {
    doc! { "_id": id.to_string() }
}

/// All ids of a consumer, or of a group of it, begin alike; `0` is what comes after `/`.
fn filter(page: Page) -> Document {
    let consumer = page.consumer.name();
    let begin = match page.group {
        Some(group) => format!("{consumer}/{group}"),
        None => consumer.to_owned(),
    };
    let after = page.after.map_or(format!("{begin}/"), |id| id.to_string());
    doc! { "_id": { "$gt": after, "$lt": format!("{begin}0") } }
}

/// A version before this one kept no time.
fn letter(document: &RawDocument) -> Result<Letter> {
    let reader = Reader::new(document, DEAD_LETTERS);
    let id = reader.text("_id")?.parse();
    Ok(Letter {
        id: id.map_err(|_invalid| corrupt("the id of a dead letter"))?,
        at: Time::from_millis(document.get_i64("t").unwrap_or_default()),
        reason: reader.text("reason")?.to_owned(),
        bytes: reader.number("bytes")?,
    })
}
