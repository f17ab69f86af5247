//! Opening a group's log under an epoch (epochs.md rule 4, steps a and e), as writes of a batch.

use async_trait::async_trait;
use sqlx::Row as _;

use super::batch::Batch;
use super::database::{Database, store_error};
use super::rows::{get_position, int};
use super::writer::Write;
use crate::model::id::GroupId;
use crate::model::position::{Epoch, Position};
use crate::store::Result;
use crate::store::log::{Head, Open, Opened, Prepared};

/// Step a: announces an epoch to the partition, unless a higher one was.
pub(super) struct Prepare {
    pub(super) group: GroupId,
    pub(super) epoch: Epoch,
}

/// The answer to a preparation that has nothing to write, since exactly this epoch is announced:
/// the usual case, and it costs no fsync. `None` if there is something to write.
pub(super) async fn prepared_already(
    database: &Database,
    group: GroupId,
    epoch: Epoch,
) -> Result<Option<Prepared>> {
    let row = sqlx::query(
        "SELECT h.epoch, h.seq FROM log_announced a LEFT JOIN log_heads h ON h.group_id = ?1
         WHERE a.partition = ?2 AND a.epoch = ?3",
    )
    .bind(group.as_bytes().as_slice())
    .bind(i64::from(group.partition().0))
    .bind(int(epoch))
    .fetch_optional(database.reader())
    .await
    .map_err(store_error)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let is_open: Option<i64> = row.try_get("epoch").map_err(store_error)?;
    let top = is_open.map(|_| get_position(&row, "epoch", "seq"));
    Ok(Some(ready(top.transpose()?)))
}

/// A log that was ever opened has lost nothing since: head, totals and memory are there.
const fn ready(top: Option<Position>) -> Prepared {
    Prepared::Ready {
        top,
        remembers: top.is_some(),
    }
}

#[async_trait]
impl Write for Prepare {
    type Answer = Prepared;

    async fn apply(&self, batch: &mut Batch) -> Result<Prepared> {
        batch.know_heads(&[self.group]).await?;
        let announced = batch.announced(self.group);
        if announced > self.epoch {
            return Ok(Prepared::StaleEpoch);
        }
        if announced < self.epoch {
            batch.announce(self.group.partition(), self.epoch).await?;
        }
        Ok(ready(batch.head(self.group).map(|head| head.pos)))
    }
}

/// Step e: the log takes appends under the epoch, if it is as it was prepared.
pub(super) struct OpenLog {
    pub(super) open: Open,
}

impl OpenLog {
    /// A log is opened at most once under an epoch: a second opening would hand out positions
    /// twice.
    fn is_as_expected(&self, head: Option<Head>, announced: Epoch) -> bool {
        let top = head.map(|head| head.pos);
        let has_own = self.open.own.is_some() || head.is_some();
        announced == self.open.epoch
            && top == self.open.expected_top
            && top.is_none_or(|top| top.epoch < self.open.epoch)
            && has_own
    }

    /// The head before the first event of the epoch.
    fn head(&self, old: Option<Head>) -> Head {
        let pos = Position::new(self.open.epoch, self.open.start.saturating_sub(1));
        Head {
            pos,
            count: self.open.count,
            rights: old.map_or(Position::START, |head| head.rights),
            at: self.open.at,
            stored: pos,
        }
    }
}

#[async_trait]
impl Write for OpenLog {
    type Answer = Opened;

    async fn apply(&self, batch: &mut Batch) -> Result<Opened> {
        let group = self.open.group;
        batch.know_heads(&[group]).await?;
        let head = batch.head(group);
        if !self.is_as_expected(head, batch.announced(group)) {
            return Ok(Opened::No);
        }
        if let Some(own) = &self.open.own {
            batch.replace_own(group, own).await?;
        }
        batch.set_head(group, self.head(head));
        Ok(Opened::Yes)
    }
}
