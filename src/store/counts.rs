//! Unread counts, put together from the log's heads and the durable totals (dataflow.md, "Unread
//! without counters"; epochs.md rule 8). One place for the formula's inputs: lists, sockets and
//! the `read` command all ask here.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Result;
use super::cards::{Card, CardGroup};
use super::history::History;
use super::log::{Head, Log};
use super::messages::Messages;
use super::sent::Sent;
use super::unread::Unread;
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals, unread};

mod marks; // what had been counted up to a position

pub use marks::Marked;

/// Groups of which more than the heads must be asked, as after a loss, at a time.
const AT_ONCE: usize = 16;

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

/// What a count is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The count.
    pub count: Count,
    /// The read mark, at a valid position; `None` before the `joined` event was handled.
    pub mark: Option<ReadMark>,
    /// Where the mentions stand.
    pub mentions: Vec<Position>,
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

    /// The head of a group: the live one, or the newest stored event of a log that is gone. All zero for a
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
        let stored = match missing.is_empty() {
            true => Vec::new(),
            false => self.messages.newest(&missing).await?,
        };
        let mut stored = stored.iter().map(|newest| newest.as_ref().map(of_stored));
        let fill = |live: Option<(Head, Option<u64>)>| {
            live.unwrap_or_else(|| (stored.next().flatten().unwrap_or_default(), None))
        };
        Ok(live.into_iter().map(fill).collect())
    }

    /// The counts of `user` in `groups`, in their order.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn of(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Count>> {
        let standings = self.standings(user, groups).await?;
        Ok(standings
            .into_iter()
            .map(|standing| standing.count)
            .collect())
    }

    /// As [`Counts::of`], with what the counts are made of.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn standings(&self, user: UserId, groups: &[GroupId]) -> Result<Vec<Standing>> {
        let (heads, marks) = tokio::try_join!(
            self.heads(groups, Some(user)),
            self.unread.marks(user, groups)
        )?;
        let each = groups.iter().zip(heads).zip(marks);
        let each = each.map(|((group, head), mark)| self.standing(user, *group, head, mark));
        let each = stream::iter(each.collect::<Vec<_>>()).buffered(AT_ONCE);
        let mut standings: Vec<Standing> = each.try_collect().await?;
        let above = standings.iter().map(|standing| standing.count.read);
        let above: Vec<_> = groups.iter().copied().zip(above).collect();
        let mentions = self.unread.mentions(user, &above).await?;
        let found = standings.iter_mut().zip(groups).zip(mentions);
        for ((standing, group), mut mentions) in found {
            let newest = standing.count.head.pos.epoch;
            if mentions.iter().any(|at| at.epoch < newest) {
                let table = self.history.table(*group).await?;
                mentions.retain(|at| table.is_valid(*at));
            }
            standing.count.mentions = mentions.len() as u64;
            standing.mentions = mentions;
        }
        Ok(standings)
    }

    /// The counts of a card's groups, in their order, by the live logs alone; `None` if the card
    /// or the logs do not say all: a change of rights since, a mark or an own total that was lost.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn by_card(&self, card: &Card, tables: &[EpochTable]) -> Result<Option<Vec<Count>>> {
        let groups: Vec<GroupId> = card.groups.iter().map(|group| group.group).collect();
        let heads = self.log.heads(&groups, Some(card.user.id)).await?;
        let counts = card.groups.iter().zip(heads).zip(tables);
        Ok(counts
            .map(|((group, head), table)| by_card(group, head?, table))
            .collect())
    }

    /// What is boxed is needed after a loss alone: a list is long, and each of it is a future.
    async fn standing(
        &self,
        user: UserId,
        group: GroupId,
        (head, live_own): (Head, Option<u64>),
        mark: Option<ReadMark>,
    ) -> Result<Standing> {
        // Before the `joined` event was handled everything known is read.
        let Some(mut read) = mark else {
            let count = Count {
                head,
                read: head.pos,
                ..Count::default()
            };
            return Ok(Standing {
                count,
                mark: None,
                mentions: Vec::new(),
            });
        };
        if read.pos.epoch < head.pos.epoch {
            read = Box::pin(self.valid_mark(user, group, read)).await?;
        }
        let own = match live_own {
            Some(own) => own,
            // Nothing came since, of anyone.
            None if head.count <= read.totals.count => read.totals.own,
            None => Box::pin(self.stored_own(user, group, head.pos)).await?,
        };
        let now = Totals {
            count: head.count,
            own,
        };
        let count = Count {
            head,
            read: read.pos,
            unread: unread(now, read.totals),
            mentions: 0,
        };
        Ok(Standing {
            count,
            mark: Some(read),
            mentions: Vec::new(),
        })
    }

    /// The own total at the head of a log that is gone.
    async fn stored_own(&self, user: UserId, group: GroupId, head: Position) -> Result<u64> {
        let table = self.history.table(group).await?;
        self.sent(user, group, &table).total(head).await
    }

    fn sent<'a>(&'a self, sender: UserId, group: GroupId, table: &'a EpochTable) -> Sent<'a> {
        Sent {
            messages: &*self.messages,
            group,
            table,
            sender,
        }
    }
}

/// A card's count; `None` if it cannot be relied on.
fn by_card(group: &CardGroup, live: (Head, Option<u64>), table: &EpochTable) -> Option<Count> {
    let (head, own) = live;
    let is_dead = table.count_at_cut(group.mark.pos).is_some();
    let knows = table.epoch() >= group.mark.pos.epoch.max(head.pos.epoch);
    if head.rights > group.rights || is_dead || !knows {
        return None;
    }
    let now = Totals {
        count: head.count,
        own: own?,
    };
    Some(Count {
        head,
        read: group.mark.pos,
        unread: unread(now, group.mark.totals),
        mentions: group.mentions.len() as u64,
    })
}

/// The head of a log that ends with this event.
fn of_stored(newest: &Entry) -> Head {
    Head {
        pos: newest.pos,
        count: newest.count,
        at: newest.at,
        rights: Position::START,
        stored: newest.pos,
    }
}
