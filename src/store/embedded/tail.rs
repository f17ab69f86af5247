//! A tail of this process: rung after each commit, it reads what lies above its cursors.
//!
//! The doorbell loses nothing, so there is no sweep: a group is compared with its head when it
//! is rung or watched anew, and all are when the doorbell no longer knows which.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::database::Database;
use super::doorbell::{Dirty, Listener, Rung};
use super::events;
use super::log::{Heads, heads};
use super::rows::entry;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::log::{Head, Tail, Tailed};

/// How many groups one answer looks at.
const GROUPS_MAX: usize = 128;

/// How many entries of one group an answer holds at most.
const ENTRIES_MAX: usize = 256;

/// The cursors, and which groups may have something above them.
pub(super) struct EmbeddedTail {
    database: Database,
    listener: Arc<Listener>,
    cursors: HashMap<GroupId, Position>,
    dirty: Dirty,
}

impl EmbeddedTail {
    pub(super) fn new(database: Database, listener: Arc<Listener>) -> Self {
        Self {
            database,
            listener,
            cursors: HashMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// Notes which of the watched groups rang.
    fn hear(&mut self) {
        let watched = |group: &GroupId| self.cursors.contains_key(group);
        let rung: Vec<_> = match self.listener.take() {
            Rung::Groups(groups) => groups.into_iter().filter(watched).collect(),
            Rung::All => self.cursors.keys().copied().collect(),
        };
        rung.into_iter().for_each(|group| self.dirty.push(group));
    }

    /// Reads the first dirty groups. Cursors and marks change only when all of it was read.
    async fn read(&mut self) -> Result<Vec<Tailed>> {
        let groups = self.dirty.first(GROUPS_MAX);
        let heads = heads(&self.database, &groups, None).await?;
        let mut found = Vec::new();
        for group in &groups {
            let (Some(cursor), Some((head, _))) = (self.cursors.get(group), heads.get(group))
            else {
                continue;
            };
            if head.pos > *cursor {
                found.push(self.read_group(*group, *cursor, *head).await?);
            }
        }
        self.advance(groups.len(), &found, &heads);
        Ok(found)
    }

    /// One unreadable event must not silence the log: it becomes a hole, which the caller sees.
    async fn read_group(&self, group: GroupId, after: Position, head: Head) -> Result<Tailed> {
        let reader = self.database.reader();
        let rows = events::range_rows(reader, group, after, None, ENTRIES_MAX).await?;
        let readable = |row| {
            entry(row)
                .inspect_err(|error| tracing::warn!(%group, %error, "a tail left out an event"))
        };
        let entries: Vec<_> = rows.iter().filter_map(|row| readable(row).ok()).collect();
        Ok(Tailed {
            group,
            head_above: entries.is_empty().then_some(head),
            entries,
        })
    }

    /// Moves the cursors; a group that was not read up to its head is looked at again.
    fn advance(&mut self, looked_at: usize, found: &[Tailed], heads: &Heads) {
        let last = |tailed: &Tailed| Some((tailed.group, tailed.entries.last()?.pos));
        let read: Vec<_> = found.iter().filter_map(last).collect();
        let is_behind = |(group, pos): &(GroupId, Position)| {
            heads.get(group).is_some_and(|(head, _)| *pos < head.pos)
        };
        let again = read.iter().copied().filter(is_behind);
        self.dirty.advance(looked_at, again.map(|(group, _)| group));
        self.cursors.extend(read);
    }
}

#[async_trait]
impl Tail for EmbeddedTail {
    fn watch(&mut self, group: GroupId, after: Position) {
        self.cursors.insert(group, after);
        self.dirty.push(group);
    }

    fn unwatch(&mut self, group: GroupId) {
        self.cursors.remove(&group);
    }

    async fn next(&mut self) -> Result<Vec<Tailed>> {
        loop {
            self.hear();
            if self.dirty.is_empty() {
                self.listener.rung().await;
                continue;
            }
            let found = self.read().await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
}
