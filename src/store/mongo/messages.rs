//! The history: one collection of events, clustered by group and position, so that a page is one
//! range of the collection itself.

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use mongodb::bson::{Document, RawDocument, doc};

use super::database::{Db, Query};
use super::failure::corrupt;
use super::insert;
use super::key;
use super::layout::{self, EVENTS};
use crate::model::epoch::Span;
use crate::model::event::{Entry, Kind};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::store::Result;
use crate::store::log::SendKey;
use crate::store::messages::{Few, Inserted, Messages, Sums};

/// How many groups one query for highest events walks down.
const LAST_UNION_MAX: usize = 50;

/// How many of these queries run at a time.
const LAST_QUERIES_MAX: usize = 4;

/// [`Messages`] in MongoDB.
pub(super) struct MongoMessages {
    db: Db,
}

impl MongoMessages {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }

    async fn events(&self, filter: Document, order: i32, limit: usize) -> Result<Vec<Entry>> {
        let query = Query {
            order,
            limit,
            ..Query::all(filter)
        };
        self.db.find(EVENTS, query, layout::read_event).await
    }

    /// Of each filter, which is of one group, the highest entry.
    ///
    /// One query for [`LAST_UNION_MAX`] groups, each walked down from its bound. Tried on 6.0.5: a
    /// query for each group costs the server twice as much, `$or` and `$lookup` read the clustered
    /// events whole, and a second copy of each group's newest message costs every insert as much as
    /// it saves a list.
    async fn highest(&self, filters: impl Iterator<Item = Document>) -> Result<Vec<Option<Entry>>> {
        let filters: Vec<Document> = filters.collect();
        let unions: Vec<_> = filters.chunks(LAST_UNION_MAX).map(<[_]>::to_vec).collect();
        let queries = stream::iter(unions).map(|union| self.highest_of(union));
        let found: Vec<_> = queries.buffered(LAST_QUERIES_MAX).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn highest_of(&self, filters: Vec<Document>) -> Result<Vec<Option<Entry>>> {
        let mut highest = vec![None; filters.len()];
        let mut walks = filters.into_iter().enumerate().map(walk_down);
        let mut pipeline = walks.next().unwrap_or_default();
        let union = |walk| doc! { "$unionWith": { "coll": EVENTS, "pipeline": walk } };
        pipeline.extend(walks.map(union));
        let read = |document: &RawDocument| layout::read_indexed_event(document, highest.len());
        for (index, entry) in self.db.aggregate(EVENTS, pipeline, read).await? {
            highest[index] = Some(entry);
        }
        Ok(highest)
    }
}

fn range(group: GroupId, after: Position, upto: Position) -> Document {
    key::above(key::event(group, after), key::event(group, upto))
}

/// The stages that find the highest event and name it by `index`.
fn walk_down((index, filter): (usize, Document)) -> Vec<Document> {
    vec![
        doc! { "$match": filter },
        doc! { "$sort": { "_id": -1 } },
        doc! { "$limit": 1 },
        doc! { "$set": { "i": i32::try_from(index).unwrap_or(i32::MAX) } },
    ]
}

fn up_to(group: GroupId, upto: Position) -> Document {
    let lowest = key::event(group, Position::START);
    doc! { "_id": { "$gte": lowest, "$lte": key::event(group, upto) } }
}

fn below(group: GroupId, before: Position) -> Document {
    let lowest = key::event(group, Position::START);
    doc! { "_id": { "$gte": lowest, "$lt": key::event(group, before) } }
}

#[async_trait]
impl Messages for MongoMessages {
    async fn insert(&self, entries: &[(GroupId, Entry)]) -> Result<Vec<Inserted>> {
        insert::insert(&self.db, entries).await
    }

    /// The placeholder is replaced by one statement on its document, then all is judged as ever.
    async fn restore(&self, group: GroupId, entry: &Entry) -> Result<Inserted> {
        let document = layout::event(group, entry)?;
        let placeholder =
            doc! { "_id": key::event(group, entry.pos), "k": i32::from(Kind::Lost.code()) };
        let event = Document::try_from(document).map_err(|error| corrupt(error.to_string()))?;
        let replace = doc! { "q": placeholder, "u": event, "upsert": false };
        self.db.update(EVENTS, &[replace]).await?;
        let inserted = insert::insert(&self.db, &[(group, entry.clone())]).await?;
        inserted
            .into_iter()
            .next()
            .ok_or_else(|| corrupt("an insert without an answer"))
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let filter = range(group, after, upto.unwrap_or(key::LAST));
        self.events(filter, 1, limit).await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let filter = match before {
            Some(before) => below(group, before),
            None => up_to(group, key::LAST),
        };
        let mut entries = self.events(filter, -1, limit).await?;
        entries.reverse();
        Ok(entries)
    }

    async fn positions(
        &self,
        group: GroupId,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Position>> {
        let query = Query {
            fields: doc! { "_id": 1 },
            order: 1,
            limit,
            ..Query::all(range(group, after, key::LAST))
        };
        self.db.find(EVENTS, query, layout::event_position).await
    }

    async fn newest(&self, groups: &[GroupId]) -> Result<Vec<Option<Entry>>> {
        self.highest(groups.iter().map(|group| up_to(*group, key::LAST)))
            .await
    }

    /// The first or second event from a bound down is nearly always one that counts.
    async fn last_messages(&self, groups: &[(GroupId, Position)]) -> Result<Vec<Option<Entry>>> {
        let last = |(group, upto): &(GroupId, Position)| {
            let mut filter = up_to(*group, *upto);
            filter.insert("k", doc! { "$in": layout::counted_kinds() });
            filter
        };
        self.highest(groups.iter().map(last)).await
    }

    async fn find_sent(&self, group: GroupId, key: SendKey, from: Position) -> Result<Vec<Entry>> {
        let (sender, client_id) = key;
        let filter = doc! { "c": key::send(group, client_id) };
        let mut sent = self.events(filter, 0, usize::MAX).await?;
        sent.retain(|entry| entry.sender == sender && entry.pos >= from);
        Ok(sent)
    }

    async fn sent_between(
        &self,
        group: GroupId,
        sender: UserId,
        after: Position,
        upto: Position,
        few: Few,
    ) -> Result<Vec<(Position, u64)>> {
        let mut filter = range(group, after, upto);
        filter.insert("s", key::user(sender));
        filter.insert("k", doc! { "$in": layout::counted_kinds() });
        let (order, limit) = match few {
            Few::First(limit) => (1, limit),
            Few::Last(limit) => (-1, limit),
        };
        let query = Query {
            filter,
            fields: doc! { "o": 1 },
            index: Some(layout::by_sender()),
            order,
            limit,
        };
        self.db.find(EVENTS, query, layout::event_own).await
    }

    async fn sums(&self, group: GroupId, span: Span) -> Result<Sums> {
        let at = |seq| key::event(group, Position::new(span.epoch, seq));
        let own = doc! { "$cond": [{ "$in": ["$k", layout::counted_kinds()] }, "$o", 0_i64] };
        let stages = vec![
            doc! { "$match": { "_id": { "$gte": at(span.first), "$lte": at(span.last) } } },
            doc! { "$group": { "_id": "$s", "n": { "$sum": 1_i64 }, "o": { "$max": own } } },
        ];
        let senders = self.db.aggregate(EVENTS, stages, layout::sender_sums);
        Ok(senders.await?.into_iter().collect())
    }
}
