//! The database that all stores of this folder share: every call goes through here, so that each
//! has a deadline and each failure is classified once.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::Hint;
use mongodb::{Client, Collection, Cursor, Database};

use super::failure::{check_reply, classify, duplicates, unavailable};
use super::key;
use crate::model::id::GroupId;
use crate::store::Result;

/// How many statements or documents one command carries at most.
pub(super) const BATCH_MAX: usize = 1000;

/// How long taking leave may last.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// A database, with the deadline of its calls.
#[derive(Clone)]
pub(super) struct Db {
    database: Database,
    deadline: Duration,
}

/// What to read of a collection.
pub(super) struct Query {
    /// Which documents.
    pub(super) filter: Document,
    /// Which of their fields; all if empty.
    pub(super) fields: Document,
    /// By which index; the server chooses if there is none.
    pub(super) index: Option<Document>,
    /// 1 = ascending by `_id`, -1 = descending, 0 = in no order.
    pub(super) order: i32,
    /// How many at most.
    pub(super) limit: usize,
}

impl Query {
    /// All documents that match, in no order.
    pub(super) fn all(filter: Document) -> Self {
        Self {
            filter,
            fields: Document::new(),
            index: None,
            order: 0,
            limit: usize::MAX,
        }
    }
}

impl Db {
    /// A database whose calls end after `deadline`.
    pub(super) const fn new(database: Database, deadline: Duration) -> Self {
        Self { database, deadline }
    }

    /// A collection of it, of raw documents.
    pub(super) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    /// The database itself, for commands on it.
    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// Runs one call of the driver within the deadline. The driver has no time-out of its own
    /// for a reply that does not come. A call that is given up closes its connection, so no
    /// later call can meet the late reply.
    pub(super) async fn call<T, F>(&self, call: F) -> Result<T>
    where
        F: IntoFuture<Output = mongodb::error::Result<T>>,
        F::IntoFuture: Send,
    {
        self.within(async { call.await.map_err(classify) }).await
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.deadline, work).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(unavailable(elapsed)),
        }
    }

    /// What `read` makes of the documents of a query.
    pub(super) async fn find<T>(
        &self,
        collection: &str,
        query: Query,
        read: impl Fn(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        self.within(self.collect(collection, query, read)).await
    }

    async fn collect<T>(
        &self,
        collection: &str,
        query: Query,
        read: impl Fn(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        let collection = self.collection(collection);
        // One round trip for most answers: without a batch size the first batch ends at 101.
        let batch = query.limit.min(10_000);
        let mut find = collection
            .find(query.filter)
            .projection(query.fields)
            .batch_size(u32::try_from(batch).unwrap_or(u32::MAX))
            .max_time(self.deadline);
        if let Some(index) = query.index {
            find = find.hint(Hint::Keys(index));
        }
        if query.order != 0 {
            find = find.sort(doc! { "_id": query.order });
        }
        if let Ok(limit) = i64::try_from(query.limit) {
            find = find.limit(limit);
        }
        drain(find.await.map_err(classify)?, read).await
    }

    /// What `read` makes of the documents that a pipeline over a collection gives.
    pub(super) async fn aggregate<T>(
        &self,
        collection: &str,
        pipeline: Vec<Document>,
        read: impl Fn(&RawDocument) -> Result<T>,
    ) -> Result<Vec<T>> {
        let collection = self.collection(collection);
        let aggregate = collection
            .aggregate(pipeline)
            .max_time(self.deadline)
            .with_type::<RawDocumentBuf>();
        let work = async { drain(aggregate.await.map_err(classify)?, read).await };
        self.within(work).await
    }

    /// What `read` makes of the documents whose `_id` is one of these groups. Only for plain
    /// collections: a clustered one is read whole for `$in`.
    pub(super) async fn by_group<T>(
        &self,
        collection: &str,
        groups: impl Iterator<Item = GroupId>,
        read: impl Fn(&RawDocument) -> Result<(GroupId, T)>,
    ) -> Result<HashMap<GroupId, T>> {
        let distinct: BTreeSet<_> = groups.collect();
        if distinct.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<_> = distinct.into_iter().map(key::group).collect();
        let query = Query::all(doc! { "_id": { "$in": ids } });
        Ok(self
            .find(collection, query, read)
            .await?
            .into_iter()
            .collect())
    }

    /// Inserts documents, at most [`BATCH_MAX`], in no order; answers the indices of those whose
    /// `_id` was taken. What this answered `Ok` for is durable, old and new.
    pub(super) async fn insert(
        &self,
        collection: &str,
        documents: &[RawDocumentBuf],
    ) -> Result<Vec<usize>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let collection = self.collection(collection);
        let insert = collection.insert_many(documents).ordered(false);
        self.within(async { duplicates(insert.await.map(drop)) })
            .await
    }

    /// Runs update statements in their order, [`BATCH_MAX`] in a command, each an upsert of one
    /// document by its `_id`. They must be idempotent: the driver does not send them again after
    /// a failure, the caller does.
    pub(super) async fn upsert(&self, collection: &str, statements: &[Document]) -> Result<()> {
        self.update(collection, statements).await.map(drop)
    }

    /// As [`Db::upsert`] for any update statements; answers how many documents they matched or
    /// made.
    pub(super) async fn update(&self, collection: &str, statements: &[Document]) -> Result<usize> {
        let mut matched = 0;
        for batch in statements.chunks(BATCH_MAX) {
            let command = doc! {
                "update": collection,
                "updates": batch.to_vec(),
                "ordered": true,
                "writeConcern": self.write_concern(),
            };
            let reply = self.call(self.database.run_command(command)).await?;
            check_reply(&reply)?;
            let count = reply.get_i32("n").unwrap_or_default();
            matched += usize::try_from(count).unwrap_or_default();
        }
        Ok(matched)
    }

    /// The write concern as a command carries it, for commands that the driver sends as they
    /// are.
    fn write_concern(&self) -> Document {
        let millis = i64::try_from(self.deadline.as_millis()).unwrap_or(i64::MAX);
        doc! { "w": "majority", "j": true, "wtimeout": millis }
    }
}

async fn drain<T>(
    mut cursor: Cursor<RawDocumentBuf>,
    read: impl Fn(&RawDocument) -> Result<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    while cursor.advance().await.map_err(classify)? {
        found.push(read(cursor.current())?);
    }
    Ok(found)
}

/// One statement for [`Db::upsert`].
pub(super) fn upsert(
    id: mongodb::bson::Binary,
    update: impl Into<mongodb::bson::Bson>,
) -> Document {
    doc! { "q": { "_id": id }, "u": update.into(), "upsert": true }
}

/// Ends a client's connections at once. It takes no longer than a second: a server that does not
/// answer is left to find out by itself.
pub(super) async fn close(client: Client) {
    let shutdown = client.shutdown().immediate(true);
    if tokio::time::timeout(CLOSE_MAX, shutdown).await.is_err() {
        tracing::warn!("MongoDB did not take leave in time");
    }
}
