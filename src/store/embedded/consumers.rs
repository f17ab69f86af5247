//! The consumers' offsets in the file, and in memory which groups have events above them.
//!
//! One process is alone with the file, so there are no leases. The set of dirty groups is fed by
//! the doorbell and made at the start by comparing heads with offsets. Calls for one consumer
//! take turns; waiting for events holds up nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use tokio::sync::Mutex;

use super::database::Database;
use super::doorbell::{Dirty, Doorbell, Listener, Rung};
use super::events;
use super::offsets::{self, SaveOffsets};
use super::progress::Progress;
use super::rows::{entry, get_position};
use super::writer::Writer;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::consumers::{Consumer, ConsumerLog, Delivery, Unreadable};

/// The consumers of the logs in the file.
pub struct EmbeddedConsumers {
    database: Database,
    writer: Writer,
    persist: Desk,
    unread: Desk,
}

/// What is known of one consumer.
struct Desk {
    consumer: Consumer,
    listener: Arc<Listener>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dirty: Dirty,
    /// Whether heads and offsets are still to be compared, for want of knowing who rang.
    must_compare: bool,
    /// Only of groups with something taken or handled that the offset does not say.
    progress: HashMap<GroupId, Progress>,
}

impl Desk {
    fn new(consumer: Consumer, doorbell: &Doorbell) -> Self {
        Self {
            consumer,
            listener: doorbell.listen(),
            state: Mutex::default(),
        }
    }
}

impl EmbeddedConsumers {
    /// Consumers of this file, rung by this doorbell.
    pub(super) fn new(database: Database, writer: Writer, doorbell: &Doorbell) -> Self {
        Self {
            database,
            writer,
            persist: Desk::new(Consumer::Persist, doorbell),
            unread: Desk::new(Consumer::Unread, doorbell),
        }
    }

    const fn desk(&self, consumer: Consumer) -> &Desk {
        match consumer {
            Consumer::Persist => &self.persist,
            Consumer::Unread => &self.unread,
        }
    }

    /// Takes what is there now. The state changes only when all of it was read.
    async fn take_now(&self, desk: &Desk, max: usize) -> Result<Vec<Delivery>> {
        let mut state = desk.state.lock().await;
        self.hear(desk, &mut state).await?;
        let mut taken = Vec::new();
        while taken.is_empty() && !state.dirty.is_empty() {
            taken = self.take_dirty(desk.consumer, &mut state, max).await?;
        }
        Ok(taken)
    }

    /// Notes which groups rang.
    async fn hear(&self, desk: &Desk, state: &mut State) -> Result<()> {
        match desk.listener.take() {
            Rung::Groups(groups) => groups.into_iter().for_each(|group| state.dirty.push(group)),
            Rung::All => state.must_compare = true,
        }
        if state.must_compare {
            let behind = offsets::behind(&self.database, desk.consumer).await?;
            behind.into_iter().for_each(|group| state.dirty.push(group));
            state.must_compare = false;
        }
        Ok(())
    }

    /// Reads the first dirty groups.
    async fn take_dirty(
        &self,
        consumer: Consumer,
        state: &mut State,
        max: usize,
    ) -> Result<Vec<Delivery>> {
        let groups = state.dirty.first(max);
        let mut progress = self.load(consumer, state, &groups).await?;
        let (mut taken, mut looked_at, mut again) = (Vec::new(), 0, Vec::new());
        for group in groups {
            let room = max.saturating_sub(taken.len());
            let Some(progress) = progress.get_mut(&group).filter(|_| room > 0) else {
                break;
            };
            let reader = self.database.reader();
            let rows = events::range_rows(reader, group, progress.read(), None, room).await?;
            looked_at += 1;
            if rows.len() == room {
                again.push(group);
            }
            for delivery in deliveries(group, &rows)? {
                if progress.take(delivery.pos) {
                    taken.push(delivery);
                }
            }
        }
        state.keep(progress);
        state.dirty.advance(looked_at, again);
        Ok(taken)
    }

    /// The progress in each of `groups`, from memory or from the file.
    async fn load(
        &self,
        consumer: Consumer,
        state: &State,
        groups: &[GroupId],
    ) -> Result<HashMap<GroupId, Progress>> {
        let known = |group: &GroupId| Some((*group, state.progress.get(group)?.clone()));
        let mut progress: HashMap<_, _> = groups.iter().filter_map(known).collect();
        let unknown = |group: &&GroupId| !progress.contains_key(*group);
        let unknown: Vec<_> = groups.iter().filter(unknown).copied().collect();
        progress.extend(offsets::load(&self.database, consumer, &unknown).await?);
        Ok(progress)
    }
}

impl State {
    /// Remembers what the file does not say.
    fn keep(&mut self, progress: HashMap<GroupId, Progress>) {
        for (group, progress) in progress {
            if progress.is_at_rest() {
                self.progress.remove(&group);
            } else {
                self.progress.insert(group, progress);
            }
        }
    }
}

/// The events in some rows; one that cannot be read is delivered with the reason.
fn deliveries(group: GroupId, rows: &[SqliteRow]) -> Result<Vec<Delivery>> {
    let delivery = |row| {
        Ok(Delivery {
            group,
            pos: get_position(row, "epoch", "seq")?,
            entry: entry(row).map_err(|error| Unreadable {
                reason: error.to_string(),
                payload: row.try_get("fixed").unwrap_or_default(),
            }),
            // The append has stored it: there is no later write to find it by.
            trace: None,
        })
    };
    rows.iter().map(delivery).collect()
}

#[async_trait]
impl ConsumerLog for EmbeddedConsumers {
    async fn take(&self, consumer: Consumer, max: usize) -> Result<Vec<Delivery>> {
        let desk = self.desk(consumer);
        loop {
            let taken = self.take_now(desk, max.max(1)).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            desk.listener.rung().await;
        }
    }

    async fn ack(&self, consumer: Consumer, done: &[(GroupId, Position)]) -> Result<()> {
        let mut state = self.desk(consumer).state.lock().await;
        let groups: HashSet<_> = done.iter().map(|(group, _)| *group).collect();
        let groups: Vec<_> = groups.into_iter().collect();
        let mut progress = self.load(consumer, &state, &groups).await?;
        let before = progress.clone();
        for (group, pos) in done {
            if let Some(progress) = progress.get_mut(group) {
                progress.ack(*pos);
            }
        }
        let moved = SaveOffsets::new(consumer, &before, &progress);
        self.writer.run(moved).await?;
        state.keep(progress);
        Ok(())
    }

    async fn release(&self, consumer: Consumer) {
        let desk = self.desk(consumer);
        let mut state = desk.state.lock().await;
        let mut again = Vec::new();
        for (group, progress) in &mut state.progress {
            if progress.release() {
                again.push(*group);
            }
        }
        state.dirty.push_first(again);
        desk.listener.wake();
    }

    /// There is nobody who could wait for a lease; all that was taken is given back.
    async fn resign(&self) {
        for consumer in Consumer::ALL {
            self.release(*consumer).await;
        }
    }
}
