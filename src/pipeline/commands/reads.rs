//! Moving one's own read mark.

use std::sync::Arc;

use crate::access::{Permit, Read};
use crate::error::{Error, Result};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::ReadMark;
use crate::store::counts::Counts;
use crate::store::history::History;
use crate::store::signals::{Signal, Signals};
use crate::store::unread::Unread;

/// Moves read marks.
#[derive(Clone)]
pub struct Reads {
    unread: Arc<dyn Unread>,
    signals: Arc<dyn Signals>,
    counts: Counts,
    history: History,
}

impl Reads {
    /// Marks kept by `unread`.
    pub fn new(
        unread: Arc<dyn Unread>,
        signals: Arc<dyn Signals>,
        counts: Counts,
        history: History,
    ) -> Self {
        Self {
            unread,
            signals,
            counts,
            history,
        }
    }

    /// Marks everything up to `pos` as read; a lower mark than the standing one changes nothing.
    /// Answers the mark that stands. The user's other devices are told.
    ///
    /// # Errors
    /// `bad_request` for a position above the head, `busy` when a store does not answer.
    pub async fn mark(&self, permit: &Permit<Read>, pos: Position) -> Result<ReadMark> {
        let (user, group) = (permit.caller().user, permit.group());
        let mark = self.mark_at(user, group, pos).await?;
        let standing = self.unread.mark_read(user, group, mark).await?;
        if standing.pos == mark.pos {
            self.tell(user, group, standing.pos).await;
        }
        Ok(standing)
    }

    /// A dead position is read as the last valid one below it.
    async fn mark_at(&self, user: UserId, group: GroupId, pos: Position) -> Result<ReadMark> {
        let at = self.history.table(group).await?.clamp(pos);
        if at.seq == 0 {
            return Ok(ReadMark::default());
        }
        let mark = self.counts.mark_at(user, group, at).await?;
        mark.ok_or_else(|| Error::field("pos", "there is no event at this position yet"))
    }

    async fn tell(&self, user: UserId, group: GroupId, pos: Position) {
        if let Err(error) = self
            .signals
            .publish(&[Signal::Read(user, group, pos)])
            .await
        {
            tracing::debug!(%error, "other devices learn of a read mark later");
        }
    }
}
