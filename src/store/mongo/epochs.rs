//! Fences and epoch tables: one document for each partition, one for each group. Every change is
//! one atomic update of one document, so that a race has one winner and no transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::database::{Db, Query};
use super::failure::corrupt;
use super::key;
use super::layout::{self, FENCES, TABLES, number};
use crate::model::epoch::{EpochTable, Row};
use crate::model::id::{GroupId, Partition};
use crate::model::position::Epoch;
use crate::store::Result;
use crate::store::epochs::{Epochs, Fence, Stamp, Stamped};

/// [`Epochs`] in MongoDB.
pub(super) struct MongoEpochs {
    db: Db,
}

impl MongoEpochs {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Updates the fence by a pipeline and answers the one that stands afterwards.
    async fn update_fence(
        &self,
        partition: Partition,
        change: Document,
        create: bool,
    ) -> Result<Option<Fence>> {
        let fences = self.db.collection(FENCES);
        let update = fences
            .find_one_and_update(fence_id(partition), vec![doc! { "$set": change }])
            .upsert(create)
            .return_document(ReturnDocument::After);
        let standing = self.db.call(update).await?;
        standing.as_deref().map(layout::read_fence).transpose()
    }
}

fn fence_id(partition: Partition) -> Document {
    doc! { "_id": i32::from(partition.0) }
}

/// Sets the fields of a fence where `condition` holds and keeps them where it does not. Texts
/// are literals, since a history that begins with a dollar would be read as a field.
fn set_fence_if(condition: Document, to: &Fence) -> Document {
    let history = doc! { "$literal": &to.history };
    doc! {
        "e": { "$cond": [condition.clone(), number(to.epoch), "$e"] },
        "h": { "$cond": [condition, history, "$h"] },
    }
}

fn is_fence(from: &Fence) -> Document {
    let epoch = doc! { "$eq": ["$e", number(from.epoch)] };
    let history = doc! { "$eq": ["$h", { "$literal": &from.history }] };
    doc! { "$and": [epoch, history] }
}

fn is_missing() -> Document {
    doc! { "$eq": [{ "$type": "$e" }, "missing"] }
}

#[async_trait]
impl Epochs for MongoEpochs {
    async fn fence(&self, partition: Partition) -> Result<Option<Fence>> {
        let query = Query::all(fence_id(partition));
        let fences = self.db.find(FENCES, query, layout::read_fence).await?;
        Ok(fences.into_iter().next())
    }

    async fn raise(&self, partition: Partition, from: Option<&Fence>, to: &Fence) -> Result<Fence> {
        let condition = from.map_or_else(is_missing, is_fence);
        let change = set_fence_if(condition, to);
        let standing = self.update_fence(partition, change, from.is_none()).await?;
        standing.ok_or_else(|| corrupt(format!("the fence of partition {partition} is gone")))
    }

    async fn confirm(&self, fences: &[(Partition, Epoch)]) -> Result<bool> {
        let confirm = |(partition, epoch): &(Partition, Epoch)| {
            let mut standing = fence_id(*partition);
            standing.insert("e", number(*epoch));
            doc! { "q": standing, "u": { "$inc": { "c": 1_i64 } } }
        };
        let statements: Vec<_> = fences.iter().map(confirm).collect();
        Ok(self.db.update(FENCES, &statements).await? == fences.len())
    }

    /// One bulk write. The number of a fence that was never stamped is missing.
    async fn stamp(&self, stamps: &[Stamp]) -> Result<bool> {
        let stamp = |stamp: &Stamp| {
            let mut standing = fence_id(stamp.partition);
            standing.insert("e", number(stamp.epoch));
            let is_first = stamp.from == 0;
            let first = doc! { "$in": [0_i64, Bson::Null] };
            let from = if is_first {
                first.into()
            } else {
                Bson::from(number(stamp.from))
            };
            standing.insert("b", from);
            doc! { "q": standing, "u": { "$set": { "b": number(stamp.to) } } }
        };
        let statements: Vec<_> = stamps.iter().map(stamp).collect();
        Ok(self.db.update(FENCES, &statements).await? == stamps.len())
    }

    async fn stamped(&self, partitions: &[Partition]) -> Result<Vec<Stamped>> {
        let ids: Vec<_> = partitions.iter().map(|p| i32::from(p.0)).collect();
        let query = Query::all(doc! { "_id": { "$in": ids } });
        let found = self.db.find(FENCES, query, layout::read_stamped).await?;
        let found: HashMap<Partition, Stamped> = found.into_iter().collect();
        let unstamped = Stamped {
            fence: None,
            batch: Some(0),
        };
        let stamped = |p| found.get(p).cloned().unwrap_or_else(|| unstamped.clone());
        Ok(partitions.iter().map(stamped).collect())
    }

    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<EpochTable>> {
        let ids = groups.iter().copied();
        let found = self.db.by_group(TABLES, ids, layout::read_table).await?;
        let tables = groups.iter().map(|group| found.get(group).cloned());
        Ok(tables.map(Option::unwrap_or_default).collect())
    }

    async fn add_row(&self, group: GroupId, after: Option<Row>, row: Row) -> Result<bool> {
        let tables = self.db.collection(TABLES);
        let id = doc! { "_id": key::group(group) };
        let Some(after) = after else {
            let first = doc! { "$setOnInsert": { "r": [layout::row(row)] } };
            let added = self
                .db
                .call(tables.update_one(id, first).upsert(true))
                .await?;
            return Ok(added.upserted_id.is_some());
        };
        let last = doc! { "$eq": [{ "$last": "$r" }, layout::row(after)] };
        let mut filter = id;
        filter.insert("$expr", last);
        let push = doc! { "$push": { "r": layout::row(row) } };
        let added = self.db.call(tables.update_one(filter, push)).await?;
        Ok(added.matched_count == 1)
    }
}
