//! Unread counts, put together from the log's heads and the durable totals (dataflow.md, "Unread
//! without counters"; epochs.md rule 8). One place for the formula's inputs: lists, sockets and
//! the `read` command all ask here.

use std::sync::Arc;

use super::Result;
use super::history::History;
use super::log::{Head, Log};
use super::messages::Messages;
use super::unread::{Cursor, DurableHead, Unread};
use crate::model::epoch::EpochTable;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals, unread};

/// How far below the head a mark is made from the live log alone.
const LIVE_MARK_MAX: usize = 256;

/// What a group is at for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// The group's head.
    pub head: Head,
    /// How far the member has read.
    pub read: Position,
    /// Messages of others above that.
    pub unread: u64,
    /// Mentions by others above that.
    pub mentions: u64,
}

/// Reads counts.
#[derive(Clone)]
pub struct Counts {
    log: Arc<dyn Log>,
    messages: Arc<dyn Messages>,
    unread: Arc<dyn Unread>,
    history: History,
}

impl Counts {
    /// Counts over these stores.
    pub fn new(
        log: Arc<dyn Log>,
        messages: Arc<dyn Messages>,
        unread: Arc<dyn Unread>,
        history: History,
    ) -> Self {
        Self {
            log,
            messages,
            unread,
            history,
        }
    }

    /// The head of a group: the live one, or the durable one of a log at rest. All zero for a
    /// group without events.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn head(&self, group: GroupId) -> Result<Head> {
        let heads = self.heads(&[group], None).await?;
        Ok(heads.into_iter().next().unwrap_or_default().0)
    }

    /// The heads of `groups`, in their order.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn heads_of(&self, groups: &[GroupId]) -> Result<Vec<Head>> {
        let heads = self.heads(groups, None).await?;
        Ok(heads.into_iter().map(|(head, _)| head).collect())
    }

    /// The heads of `groups` in their order, each with the live own total of `member`, if known.
    async fn heads(
        &self,
        groups: &[GroupId],
        member: Option<UserId>,
    ) -> Result<Vec<(Head, Option<u64>)>> {
        let live = self.log.heads(groups, member).await?;
        let missing: Vec<GroupId> = groups
            .iter()
            .zip(&live)
            .filter(|(_, head)| head.is_none())
            .map(|(group, _)| *group)
            .collect();
        let mut durable = match missing.is_empty() {
            true => Vec::new(),
            false => self.unread.heads(&missing).await?,
        }
        .into_iter();
        let at_rest = |head: Option<DurableHead>| head.map_or_else(Head::default, Head::from);
        let fill = |live: Option<(Head, Option<u64>)>| {
            live.unwrap_or_else(|| (at_rest(durable.next().flatten()), None))
        };
        Ok(live.into_iter().map(fill).collect())
    }

    /// The counts of `user` in `groups`, in their order.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn of(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Count>> {
        let (heads, cursors) = tokio::try_join!(
            self.heads(groups, Some(user)),
            self.unread.cursors(user, groups)
        )?;
        let mut counts = Vec::with_capacity(groups.len());
        for ((group, (head, live_own)), cursor) in groups.iter().zip(heads).zip(&cursors) {
            counts.push(self.count(user, *group, head, live_own, cursor).await?);
        }
        let above: Vec<_> = groups
            .iter()
            .copied()
            .zip(counts.iter().map(|c| c.read))
            .collect();
        let mentions = self.unread.mentions(user, &above).await?;
        for (count, mentions) in counts.iter_mut().zip(mentions) {
            count.mentions = mentions;
        }
        Ok(counts)
    }

    async fn count(
        &self,
        user: UserId,
        group: GroupId,
        head: Head,
        live_own: Option<u64>,
        cursor: &Cursor,
    ) -> Result<Count> {
        // Before the `joined` event was handled everything known is read.
        let Some(mut read) = cursor.read else {
            return Ok(Count {
                head,
                read: head.pos,
                ..Count::default()
            });
        };
        let own = live_own.unwrap_or(cursor.own.1).max(cursor.own.1);
        if read.pos.epoch < head.pos.epoch {
            read = self.valid_mark(user, group, read, own).await?;
        }
        let now = Totals {
            count: head.count,
            own,
        };
        Ok(Count {
            head,
            read: read.pos,
            unread: unread(now, read.totals),
            mentions: 0,
        })
    }

    /// A mark whose position died is read as the last valid one below it.
    async fn valid_mark(
        &self,
        user: UserId,
        group: GroupId,
        mark: ReadMark,
        own: u64,
    ) -> Result<ReadMark> {
        let table = self.history.table(group).await?;
        let Some((seq, count)) = table.count_at_cut(mark.pos) else {
            return Ok(mark);
        };
        let pos = Position::new(mark.pos.epoch, seq);
        let own = self.own_at(user, group, &table, pos, own).await?;
        Ok(ReadMark {
            pos,
            totals: Totals { count, own },
        })
    }

    /// The mark for having read up to `pos`; `None` if there is no event. A dead
    /// position is read as the last valid one below it. Reading up to what the live log still
    /// holds, as clients nearly always do, asks the log alone.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn mark_at(
        &self,
        user: UserId,
        group: GroupId,
        pos: Position,
    ) -> Result<Option<ReadMark>> {
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
            return Ok(Some(mark));
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
        let Some((at, above)) = live.split_first().filter(|(at, _)| at.pos == pos) else {
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
    async fn history_mark(
        &self,
        user: UserId,
        group: GroupId,
        pos: Position,
    ) -> Result<Option<ReadMark>> {
        let mut table = self.history.table(group).await?;
        if pos.epoch > table.epoch() {
            return Ok(None);
        }
        let at = table.clamp(pos);
        if at.seq == 0 {
            return Ok(Some(ReadMark::default()));
        }
        // Below the next place of its own epoch: below that of a newer one the log's end comes
        // first, which may be far above.
        let bound = Position::new(at.epoch, at.seq + 1);
        let found = self
            .history
            .before(group, &mut table, Some(bound), 1)
            .await?;
        let Some(entry) = found.first().filter(|entry| entry.pos.seq == at.seq) else {
            return Ok(None);
        };
        let own = if entry.sender == user {
            entry.sender_count
        } else {
            let now = self.own_now(user, group).await?;
            self.own_at(user, group, &table, entry.pos, now).await?
        };
        let totals = Totals {
            count: entry.count,
            own,
        };
        Ok(Some(ReadMark {
            pos: entry.pos,
            totals,
        }))
    }

    /// The user's own messages so far.
    async fn own_now(&self, user: UserId, group: GroupId) -> Result<u64> {
        let groups = [group];
        let (heads, cursors) = tokio::try_join!(
            self.heads(&groups, Some(user)),
            self.unread.cursors(user, &groups)
        )?;
        let live = heads.first().and_then(|(_, own)| *own).unwrap_or(0);
        Ok(live.max(cursors.first().map_or(0, |cursor| cursor.own.1)))
    }

    /// The user's own messages up to `pos`: one less than the first above it counts, or all of
    /// them if there is none above.
    async fn own_at(
        &self,
        user: UserId,
        group: GroupId,
        table: &EpochTable,
        pos: Position,
        now: u64,
    ) -> Result<u64> {
        let far = Position::new(table.epoch(), crate::model::position::PART_MAX);
        let stored = self.messages.sent_between(group, user, pos, far).await?;
        let stored = stored.into_iter().find(|(at, _)| table.is_valid(*at));
        if let Some((_, count)) = stored {
            return Ok(count.saturating_sub(1));
        }
        let head = self.head(group).await?;
        let mut table = table.clone();
        let mut from = pos.max(head.stored);
        while from < head.pos {
            let step = self
                .history
                .after(group, &mut table, from, Some(head.pos), 256)
                .await?;
            let own = step
                .iter()
                .find(|e| e.sender == user && e.kind.is_counted());
            if let Some(entry) = own {
                return Ok(entry.sender_count.saturating_sub(1));
            }
            let Some(last) = step.last() else { break };
            from = last.pos;
        }
        Ok(now)
    }
}

impl From<DurableHead> for Head {
    fn from(head: DurableHead) -> Self {
        let DurableHead { pos, count, at } = head;
        Self {
            pos,
            count,
            at,
            rights: Position::START,
            stored: pos,
        }
    }
}
