//! The rows that say how far the consumers have come: read at the start and for groups that
//! were at rest, written with each acknowledgement.

use std::collections::HashMap;

use async_trait::async_trait;

use super::batch::Batch;
use super::database::{Database, store_error};
use super::progress::Progress;
use super::rows::{get_group, get_position, group_list, position_list};
use super::writer::Write;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::consumers::Consumer;

/// The groups whose head is above the consumer's offset.
pub(super) async fn behind(database: &Database, consumer: Consumer) -> Result<Vec<GroupId>> {
    let rows = sqlx::query(
        "SELECT h.group_id FROM log_heads h
         LEFT JOIN consumer_offsets o ON o.consumer = ?1 AND o.group_id = h.group_id
         WHERE o.epoch IS NULL OR (o.epoch, o.seq) < (h.epoch, h.seq)",
    )
    .bind(consumer.name())
    .fetch_all(database.reader())
    .await
    .map_err(store_error)?;
    rows.iter().map(|row| get_group(row, "group_id")).collect()
}

/// The consumer's progress in each of `groups` as the file keeps it.
pub(super) async fn load(
    database: &Database,
    consumer: Consumer,
    groups: &[GroupId],
) -> Result<HashMap<GroupId, Progress>> {
    if groups.is_empty() {
        return Ok(HashMap::new());
    }
    let list = group_list(groups);
    let offsets = positions(database, OFFSETS, consumer, &list).await?;
    let acks = positions(database, ACKS, consumer, &list).await?;
    let progress = |group: &GroupId| {
        let offset = offsets.get(group).and_then(|found| found.first().copied());
        let above = acks.get(group).into_iter().flatten().copied();
        (*group, Progress::new(offset.unwrap_or_default(), above))
    };
    Ok(groups.iter().map(progress).collect())
}

const OFFSETS: &str = "SELECT o.group_id, o.epoch, o.seq
    FROM json_each(?2) w CROSS JOIN consumer_offsets o
    ON o.consumer = ?1 AND o.group_id = unhex(w.value)";

const ACKS: &str = "SELECT a.group_id, a.epoch, a.seq
    FROM json_each(?2) w CROSS JOIN consumer_acks a
    ON a.consumer = ?1 AND a.group_id = unhex(w.value)";

async fn positions(
    database: &Database,
    query: &'static str,
    consumer: Consumer,
    list: &str,
) -> Result<HashMap<GroupId, Vec<Position>>> {
    let rows = sqlx::query(query)
        .bind(consumer.name())
        .bind(list)
        .fetch_all(database.reader())
        .await
        .map_err(store_error)?;
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for row in &rows {
        let pos = get_position(row, "epoch", "seq")?;
        found
            .entry(get_group(row, "group_id")?)
            .or_default()
            .push(pos);
    }
    Ok(found)
}

/// What an acknowledgement changed.
pub(super) struct SaveOffsets {
    consumer: Consumer,
    /// Offsets that moved.
    offsets: Vec<(GroupId, Position)>,
    /// Groups where something was or is acknowledged above the offset.
    uneven: Vec<GroupId>,
    /// All that is acknowledged above the offsets of these groups.
    above: Vec<(GroupId, Position)>,
}

impl SaveOffsets {
    /// The difference between two states of the same groups.
    pub(super) fn new(
        consumer: Consumer,
        before: &HashMap<GroupId, Progress>,
        after: &HashMap<GroupId, Progress>,
    ) -> Self {
        let has_above = |progress: &Progress| progress.above().next().is_some();
        let offset = |group| before.get(group).map(Progress::offset);
        let moved = after
            .iter()
            .filter(|(group, progress)| offset(*group) != Some(progress.offset()))
            .map(|(group, progress)| (*group, progress.offset()));
        let uneven = after
            .iter()
            .filter(|(group, progress)| {
                has_above(progress) || before.get(*group).is_some_and(has_above)
            })
            .map(|(group, _)| *group);
        let above = after
            .iter()
            .flat_map(|(group, progress)| progress.above().map(|pos| (*group, pos)));
        Self {
            consumer,
            offsets: moved.collect(),
            uneven: uneven.collect(),
            above: above.collect(),
        }
    }

    async fn save_uneven(&self, batch: &mut Batch) -> Result<()> {
        sqlx::query(
            "DELETE FROM consumer_acks WHERE consumer = ?1
             AND group_id IN (SELECT unhex(value) FROM json_each(?2))",
        )
        .bind(self.consumer.name())
        .bind(group_list(&self.uneven))
        .execute(batch.connection().await?)
        .await
        .map_err(store_error)?;
        self.upsert(
            batch,
            "INSERT INTO consumer_acks (consumer, group_id, epoch, seq)
             SELECT ?1, unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each(?2)
             WHERE true ON CONFLICT DO NOTHING",
            &self.above,
        )
        .await
    }

    async fn upsert(
        &self,
        batch: &mut Batch,
        query: &'static str,
        positions: &[(GroupId, Position)],
    ) -> Result<()> {
        sqlx::query(query)
            .bind(self.consumer.name())
            .bind(position_list(positions.iter().copied()))
            .execute(batch.connection().await?)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

#[async_trait]
impl Write for SaveOffsets {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<()> {
        self.upsert(
            batch,
            "INSERT INTO consumer_offsets (consumer, group_id, epoch, seq)
             SELECT ?1, unhex(value ->> 0), value ->> 1, value ->> 2 FROM json_each(?2)
             WHERE true ON CONFLICT (consumer, group_id) DO UPDATE
             SET epoch = excluded.epoch, seq = excluded.seq
             WHERE (excluded.epoch, excluded.seq) > (epoch, seq)",
            &self.offsets,
        )
        .await?;
        if !self.uneven.is_empty() {
            self.save_uneven(batch).await?;
        }
        Ok(())
    }
}
