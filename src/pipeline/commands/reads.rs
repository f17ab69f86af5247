//! Moving one's own read mark.

use std::sync::Arc;

use crate::access::{Permit, Read};
use crate::error::{Busy, Error, Result};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::ReadMark;
use crate::pipeline::reopen::Reopener;
use crate::store::cards::Cards;
use crate::store::counts::{Counts, Marked};
use crate::store::signals::{Signal, Signals};
use crate::store::unread::Unread;

/// How often a log that went back is opened before a mark is put off: a fence is raised, the log is
/// opened, and somebody else may be quicker.
const OPENINGS_MAX: usize = 4;
const RETRY_AFTER_MS: u64 = 1000;

/// Moves read marks.
#[derive(Clone)]
pub struct Reads {
    unread: Arc<dyn Unread>,
    signals: Arc<dyn Signals>,
    cards: Arc<dyn Cards>,
    counts: Counts,
    reopener: Arc<Reopener>,
}

impl Reads {
    /// Marks kept by `unread`.
    pub fn new(
        unread: Arc<dyn Unread>,
        signals: Arc<dyn Signals>,
        cards: Arc<dyn Cards>,
        counts: Counts,
        reopener: Arc<Reopener>,
    ) -> Self {
        Self {
            unread,
            signals,
            cards,
            counts,
            reopener,
        }
    }

    /// Marks everything up to `pos` as read; a lower mark than the standing one changes nothing.
    /// Answers the mark that stands. The user's other devices are told.
    ///
    /// # Errors
    /// `bad_request` for a position above the head, `busy` when a store does not answer.
    pub async fn mark(&self, permit: &Permit<Read>, pos: Position) -> Result<ReadMark> {
        let (user, group) = (permit.caller().user, permit.group());
        let mark = self.find(user, group, pos).await?;
        let number = self.cards.begin_mark(user, group).await?;
        let standing = self.unread.mark_read(user, group, mark).await?;
        let told = self.cards.end_mark(user, group, number, standing).await;
        if let Err(error) = told {
            tracing::debug!(%error, "a card goes without a read mark");
        }
        if standing.pos == mark.pos {
            self.tell(permit, standing.pos).await;
        }
        Ok(standing)
    }

    /// The mark at `pos`. A log that went back is opened first, which nobody else may do soon: it is
    /// perhaps one in which nobody writes any more.
    async fn find(&self, user: UserId, group: GroupId, pos: Position) -> Result<ReadMark> {
        for _ in 0..OPENINGS_MAX {
            match self.counts.mark_at(user, group, pos).await? {
                Marked::At(mark) => return Ok(mark),
                Marked::Nowhere => {
                    return Err(Error::field("pos", "there is no event at this position"));
                }
                Marked::LogWentBack => self.reopener.look_after(group).await?,
            }
        }
        let detail = "the group's log is being opened again; try again";
        Err(Error::busy(Busy::Log, detail, RETRY_AFTER_MS))
    }

    async fn tell(&self, permit: &Permit<Read>, pos: Position) {
        let read = Signal::Read {
            user: permit.caller().user,
            group: permit.group(),
            pos,
        };
        if let Err(error) = self.signals.publish(&[read]).await {
            tracing::debug!(%error, "other devices learn of a read mark later");
        }
    }
}
