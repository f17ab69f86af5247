//! Read marks: what had been counted up to a position, from the live log or from the history.

use super::Counts;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals};
use crate::store::log::Head;
use crate::store::{Result, StoreError};

/// How far below the head a mark is made from the live log alone.
const LIVE_MARK_MAX: usize = 256;

/// What is known of a place that someone wants to mark as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// The mark there, or at the last valid position below a dead one.
    At(ReadMark),
    /// There is no event at this position.
    Nowhere,
    /// The log holds less than it did, or than is stored: open it again, then ask again.
    LogWentBack,
}

impl Counts {
    /// A mark whose position died is read as the last valid one below it.
    pub(super) async fn valid_mark(
        &self,
        user: UserId,
        group: GroupId,
        mark: ReadMark,
    ) -> Result<ReadMark> {
        let table = self.history.table(group).await?;
        let Some((seq, count)) = table.count_at_cut(mark.pos) else {
            return Ok(mark);
        };
        let pos = Position::new(mark.pos.epoch, seq);
        let own = self.own_up_to(user, group, pos).await?;
        let own = own.ok_or_else(went_back)?;
        Ok(ReadMark {
            pos,
            totals: Totals { count, own },
        })
    }

    /// The mark for having read up to `pos`. Reading up to what the live log still holds, as clients
    /// nearly always do, asks the log alone.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn mark_at(&self, user: UserId, group: GroupId, pos: Position) -> Result<Marked> {
        let (head, own) = self
            .heads(&[group], Some(user))
            .await?
            .pop()
            .unwrap_or_default();
        if pos.epoch == head.pos.epoch
            && (1..=head.pos.seq).contains(&pos.seq)
            && let Some(own) = own
            && let Some(mark) = self.live_mark(user, group, pos, (head, own)).await?
        {
            return Ok(Marked::At(mark));
        }
        self.history_mark(user, group, pos).await
    }

    /// The mark at a position of the newest epoch, from the live log: the event there, and the
    /// first own message above it, which counts one more.
    async fn live_mark(
        &self,
        user: UserId,
        group: GroupId,
        pos: Position,
        (head, own): (Head, u64),
    ) -> Result<Option<ReadMark>> {
        if pos == head.pos {
            let totals = Totals {
                count: head.count,
                own,
            };
            return Ok(Some(ReadMark { pos, totals }));
        }
        let behind = head.pos.seq - pos.seq;
        let Ok(behind) = usize::try_from(behind).map(|behind| behind + 1) else {
            return Ok(None);
        };
        if behind > LIVE_MARK_MAX {
            return Ok(None);
        }
        let after = Position::new(pos.epoch, pos.seq - 1);
        let live = self.log.range(group, after, Some(head.pos), behind).await?;
        // A log that came back with less meanwhile no longer reaches up to the head.
        let Some((at, above)) = live
            .split_first()
            .filter(|(at, above)| at.pos == pos && above.last().is_some_and(|e| e.pos == head.pos))
        else {
            return Ok(None);
        };
        let own = above
            .iter()
            .find(|entry| entry.sender == user && entry.kind.is_counted())
            .map_or(own, |entry| entry.sender_count.saturating_sub(1));
        Ok(Some(ReadMark {
            pos,
            totals: Totals {
                count: at.count,
                own,
            },
        }))
    }

    /// The mark at any position, from the history.
    async fn history_mark(&self, user: UserId, group: GroupId, pos: Position) -> Result<Marked> {
        let mut table = self.history.table(group).await?;
        if pos.epoch > table.epoch() {
            return Ok(Marked::Nowhere);
        }
        let at = table.clamp(pos);
        if at.seq == 0 {
            return Ok(Marked::At(ReadMark::default()));
        }
        // Below the next place of its own epoch: below that of a newer one the log's end comes
        // first, which may be far above.
        let bound = Position::new(at.epoch, at.seq + 1);
        let found = self
            .history
            .before(group, &mut table, Some(bound), 1)
            .await?;
        let Some(entry) = found.first().filter(|entry| entry.pos.seq == at.seq) else {
            return Ok(Marked::Nowhere);
        };
        let own = if entry.sender == user {
            Some(entry.sender_count)
        } else {
            self.own_up_to(user, group, entry.pos).await?
        };
        let Some(own) = own else {
            return Ok(Marked::LogWentBack);
        };
        let totals = Totals {
            count: entry.count,
            own,
        };
        Ok(Marked::At(ReadMark {
            pos: entry.pos,
            totals,
        }))
    }

    /// The user's own messages up to a position that the log gave. Where the log has gone back below
    /// it since, what is stored counts: the rest is lost, or is no longer what stands there.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn own_at(&self, user: UserId, group: GroupId, pos: Position) -> Result<u64> {
        if let Some(own) = self.own_up_to(user, group, pos).await? {
            return Ok(own);
        }
        let table = self.history.table(group).await?;
        self.sent(user, group, &table).total(pos).await
    }

    /// The user's own messages up to `pos`: one less than the first above it counts, or all of
    /// them if there is none above; `None` if the log went back below `pos`.
    ///
    /// The head is read first: what it says is stored can be asked of the store, and what it does
    /// not is still in the log, or by then in the store too. Asked in another order, a message that
    /// is stored between the two questions answers neither. The table is read after it, too: by an
    /// older one the messages of a newer epoch are dead.
    async fn own_up_to(&self, user: UserId, group: GroupId, pos: Position) -> Result<Option<u64>> {
        let heads = self.heads(&[group], Some(user)).await?;
        let (head, live) = heads.into_iter().next().unwrap_or_default();
        if live == Some(0) && pos.seq <= head.pos.seq {
            return Ok(Some(0));
        }
        let mut table = self
            .history
            .table_at(group, pos.epoch.max(head.pos.epoch))
            .await?;
        let sent = self.sent(user, group, &table);
        if let Some(own) = sent.first_above(pos, head.stored).await? {
            return Ok(Some(own.saturating_sub(1)));
        }
        let mut from = pos.max(head.stored);
        while from.seq < head.pos.seq {
            let step = self
                .history
                .after(group, &mut table, from, Some(head.pos), 256)
                .await?;
            let own = step
                .iter()
                .find(|e| e.sender == user && e.kind.is_counted());
            if let Some(entry) = own {
                return Ok(Some(entry.sender_count.saturating_sub(1)));
            }
            let Some(last) = step.last() else {
                return Ok(None);
            };
            from = last.pos;
        }
        match live {
            Some(total) => Ok((head.pos.seq >= pos.seq).then_some(total)),
            None => self.sent(user, group, &table).total(pos).await.map(Some),
        }
    }
}

/// The log lost what its head told of.
fn went_back() -> StoreError {
    StoreError::unavailable("log", "it went back while totals were counted")
}
