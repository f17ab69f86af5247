//! The groups' logs in the file. Appends and openings go through the writer; reads see every
//! commit that returned before them. Nothing is trimmed, everything accepted is stored, and the
//! memory of `client_id`s is complete.
//!
//! The history is made once, with the file. A file that is put back from a backup keeps it, so a
//! restore is not noticed here: who restores one must give it a new history.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::append::AppendEvent;
use super::database::{Database, store_error};
use super::doorbell::Doorbell;
use super::events;
use super::log_rows::head;
use super::opening::{OpenLog, Prepare, prepared_already};
use super::rows::{get_group, get_u64, group_list};
use super::tail::EmbeddedTail;
use super::writer::Writer;
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::{Epoch, Position};
use crate::store::Result;
use crate::store::log::{
    Append, Head, HistoryId, Log, Open, Opened, Outcome, Prepared, Stored, Tail,
};
use crate::store::witness::Witness;

/// The logs of all groups.
pub struct EmbeddedLog {
    database: Database,
    writer: Writer,
    doorbell: Arc<Doorbell>,
    history: HistoryId,
}

impl EmbeddedLog {
    /// The logs in this file.
    pub(super) async fn new(
        database: Database,
        writer: Writer,
        doorbell: Arc<Doorbell>,
    ) -> Result<Self> {
        let history = sqlx::query_scalar("SELECT id FROM log_history")
            .fetch_one(database.reader())
            .await
            .map_err(store_error)?;
        Ok(Self {
            database,
            writer,
            doorbell,
            history,
        })
    }
}

/// Log and message store are one file: the one cannot be older than the other.
impl Witness for EmbeddedLog {}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, append: Append) -> Result<Outcome> {
        let write = AppendEvent::new(append, self.history.clone());
        self.writer.run(write).await
    }

    async fn history(&self, _partition: Partition) -> Result<HistoryId> {
        Ok(self.history.clone())
    }

    /// The tables are in this very file: [`super::epochs`] reads them.
    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<Option<EpochTable>>> {
        Ok(groups.iter().map(|_| None).collect())
    }

    async fn heads(
        &self,
        groups: &[GroupId],
        member: Option<UserId>,
    ) -> Result<Vec<Option<(Head, Option<u64>)>>> {
        let found = heads(&self.database, groups, member).await?;
        let of = |group| found.get(group).copied();
        Ok(groups.iter().map(of).collect())
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        events::range(self.database.reader(), group, after, upto, limit).await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        events::range_back(self.database.reader(), group, before, limit).await
    }

    async fn prepare(&self, group: GroupId, history: &str, epoch: Epoch) -> Result<Prepared> {
        if history != self.history {
            return Ok(Prepared::OtherHistory(self.history.clone()));
        }
        match prepared_already(&self.database, group, epoch).await? {
            Some(prepared) => Ok(prepared),
            None => self.writer.run(Prepare { group, epoch }).await,
        }
    }

    async fn open(&self, open: Open) -> Result<Opened> {
        if open.history != self.history {
            return Ok(Opened::No);
        }
        self.writer.run(OpenLog { open }).await
    }

    async fn set_stored(&self, _marks: &[Stored]) -> Result<Vec<Partition>> {
        Ok(Vec::new())
    }

    async fn tail(&self) -> Result<Box<dyn Tail>> {
        let listener = self.doorbell.listen();
        Ok(Box::new(EmbeddedTail::new(self.database.clone(), listener)))
    }
}

/// Heads of open logs, each with a member's own total if one was asked for.
pub(super) type Heads = HashMap<GroupId, (Head, Option<u64>)>;

/// The heads of those of `groups` whose log is open, with the own total of `member` if one is
/// given.
pub(super) async fn heads(
    database: &Database,
    groups: &[GroupId],
    member: Option<UserId>,
) -> Result<Heads> {
    let rows = sqlx::query(
        "SELECT h.*, coalesce(o.total, 0) AS own
         FROM json_each(?1) w CROSS JOIN log_heads h ON h.group_id = unhex(w.value)
         LEFT JOIN own_totals o ON o.group_id = h.group_id AND o.sender_id = ?2",
    )
    .bind(group_list(groups))
    .bind(member.as_ref().map(|user| user.as_bytes().as_slice()))
    .fetch_all(database.reader())
    .await
    .map_err(store_error)?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let own = member.map(|_| get_u64(row, "own")).transpose()?;
        found.insert(get_group(row, "group_id")?, (head(row)?, own));
    }
    Ok(found)
}
