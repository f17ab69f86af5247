//! Read marks and mentions. Every answer for many groups is one or
//! two queries.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::bson::{Document, RawDocument, doc};
use mongodb::options::ReturnDocument;

use super::database::{Db, Query};
use super::failure::corrupt;
use super::field::Reader;
use super::key;
use super::layout::{self, CURSORS, INBOX, MENTIONS_ALL};
use super::learn;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::ReadMark;
use crate::store::Result;
use crate::store::unread::{Learnt, Unread};

/// How many ranges one query for mentions holds at most.
const RANGES_MAX: usize = 500;

/// [`Unread`] in MongoDB.
pub(super) struct MongoUnread {
    db: Db,
}

impl MongoUnread {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Adds up the mentions in these ranges, by group. The index alone answers.
    async fn count(
        &self,
        collection: &'static str,
        ranges: &[Document],
        skip: usize,
        but: Option<UserId>,
    ) -> Result<Places> {
        let mut places = Places::new();
        for ranges in ranges.chunks(RANGES_MAX) {
            let query = Query {
                fields: doc! { "_id": 1 },
                ..Query::all(doc! { "$or": ranges.to_vec() })
            };
            let read = |document: &RawDocument| read_place(document, collection, skip, but);
            let found = self.db.find(collection, query, read).await?;
            for (group, pos) in found.into_iter().flatten() {
                places.entry(group).or_default().push(pos);
            }
        }
        Ok(places)
    }
}

/// Where mentions lie.
type Places = HashMap<GroupId, Vec<Position>>;

/// The place in a mention's key, unless it was made by `but`.
fn read_place(
    document: &RawDocument,
    collection: &'static str,
    skip: usize,
    but: Option<UserId>,
) -> Result<Option<(GroupId, Position)>> {
    let reader = Reader::new(document, collection);
    let id = reader.bytes("_id")?;
    let place = key::place(id, skip).ok_or_else(|| reader.bad("_id"))?;
    let by = id.get(skip + 32..).and_then(UserId::from_slice);
    Ok((but.is_none() || by != but).then_some(place))
}

fn own_range(user: UserId, group: GroupId, above: Position) -> Document {
    let from = key::mention(user, group, above);
    key::above(from, key::mention(user, group, key::LAST))
}

/// Keys of mentions of all begin with the position and end with a person: above every key of
/// the position `above`.
fn all_range(group: GroupId, above: Position) -> Document {
    let last = UserId::from_bytes([0xff; 16]);
    let from = key::mention_all(group, above, last);
    key::above(from, key::mention_all(group, key::LAST, last))
}

/// Of each group the lowest position that is asked for.
fn lowest(groups: &[(GroupId, Position)]) -> HashMap<GroupId, Position> {
    let mut lowest = HashMap::new();
    for (group, above) in groups {
        let standing = lowest.entry(*group).or_insert(*above);
        *standing = (*standing).min(*above);
    }
    lowest
}

#[async_trait]
impl Unread for MongoUnread {
    async fn record(&self, learnt: &Learnt) -> Result<()> {
        learn::record(&self.db, learnt).await
    }

    /// One range over the user's cursors from the lowest to the highest group that is asked for.
    async fn marks(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Option<ReadMark>>> {
        let (Some(low), Some(high)) = (groups.iter().min(), groups.iter().max()) else {
            return Ok(Vec::new());
        };
        let (low, high) = (key::cursor(user, *low), key::cursor(user, *high));
        let query = Query::all(doc! { "_id": { "$gte": low, "$lte": high } });
        let found = self.db.find(CURSORS, query, layout::read_cursor).await?;
        let found: HashMap<_, _> = found.into_iter().collect();
        let marks = groups.iter().map(|group| found.get(group).copied());
        Ok(marks.map(Option::flatten).collect())
    }

    async fn mark_read(&self, user: UserId, group: GroupId, mark: ReadMark) -> Result<ReadMark> {
        let cursors = self.db.collection(CURSORS);
        let id = doc! { "_id": key::cursor(user, group) };
        let update = cursors
            .find_one_and_update(id, vec![learn::move_read(mark)])
            .upsert(true)
            .return_document(ReturnDocument::After);
        let standing = self.db.call(update).await?;
        let cursor = standing.as_deref().map(layout::read_cursor).transpose()?;
        cursor
            .and_then(|(_, mark)| mark)
            .ok_or_else(|| corrupt("an upsert of a cursor answered no read mark"))
    }

    async fn mentions(
        &self,
        user: UserId,
        groups: &[(GroupId, Position)],
    ) -> Result<Vec<Vec<Position>>> {
        let lowest = lowest(groups);
        let own: Vec<_> = lowest
            .iter()
            .map(|(group, above)| own_range(user, *group, *above))
            .collect();
        let all: Vec<_> = lowest
            .iter()
            .map(|(group, above)| all_range(*group, *above))
            .collect();
        let (own, all) = tokio::try_join!(
            self.count(INBOX, &own, key::MENTION_SKIP, None),
            self.count(MENTIONS_ALL, &all, 0, Some(user)),
        )?;
        let mentions = groups.iter().map(|(group, above)| {
            let places = [&own, &all]
                .into_iter()
                .filter_map(|places| places.get(group));
            let above = places.flatten().filter(|pos| *pos > above);
            above.copied().collect()
        });
        Ok(mentions.collect())
    }
}
