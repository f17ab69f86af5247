//! Fences and epoch tables: one document for the partitions of a digit, one for each group. Every
//! change is one atomic update of one document, so that a race has one winner and no transaction.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use mongodb::bson::doc;
use mongodb::options::ReturnDocument;

use super::database::{Db, Query};
use super::failure::corrupt;
use super::fences;
use super::key;
use super::layout::{self, FENCES, TABLES};
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

    async fn fences_of(&self, partitions: &[Partition]) -> Result<HashMap<Partition, Stamped>> {
        let ids: BTreeSet<i32> = partitions.iter().map(|p| fences::id(*p)).collect();
        let ids: Vec<i32> = ids.into_iter().collect();
        let query = Query::all(doc! { "_id": { "$in": ids } });
        let found = self.db.find(FENCES, query, fences::read).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

#[async_trait]
impl Epochs for MongoEpochs {
    async fn fence(&self, partition: Partition) -> Result<Option<Fence>> {
        let mut found = self.fences_of(&[partition]).await?;
        Ok(found.remove(&partition).and_then(|stamped| stamped.fence))
    }

    async fn raise(&self, partition: Partition, from: Option<&Fence>, to: &Fence) -> Result<Fence> {
        let change = fences::raise(partition, from, to);
        let collection = self.db.collection(FENCES);
        let update = collection
            .find_one_and_update(
                doc! { "_id": fences::id(partition) },
                vec![doc! { "$set": change }],
            )
            .upsert(from.is_none())
            .return_document(ReturnDocument::After);
        let standing = self.db.call(update).await?;
        let standing = standing.as_deref().map(fences::read).transpose()?;
        let mut standing = standing.into_iter().flatten();
        let fence = standing.find_map(|(of, stamped)| stamped.fence.filter(|_| of == partition));
        fence.ok_or_else(|| corrupt(format!("the fence of partition {partition} is gone")))
    }

    async fn confirm(&self, fences: &[(Partition, Epoch)]) -> Result<bool> {
        let statements = fences::confirm(fences);
        Ok(self.db.update(FENCES, &statements).await? == statements.len())
    }

    async fn stamp(&self, stamps: &[Stamp]) -> Result<bool> {
        let statements = fences::stamp(stamps);
        Ok(self.db.update(FENCES, &statements).await? == statements.len())
    }

    async fn stamped(&self, partitions: &[Partition]) -> Result<Vec<Stamped>> {
        let found = self.fences_of(partitions).await?;
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
