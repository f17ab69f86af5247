//! Keeps what unread counts are made of beside the log's own totals: mentions, and where members
//! began.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::persist::readable;
use super::{Handler, letter_id};
use crate::clock::Clock;
use crate::model::event::{Content, Entry};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::{ReadMark, Totals};
use crate::store::cards::Cards;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::counts::Counts;
use crate::store::dead_letters::DeadLetters;
use crate::store::unread::{Learnt, Mention, Unread};
use crate::store::{Result, StoreError};

/// Nobody waits for it: what is newer than the last batch is counted from the log.
const PERIOD: Duration = Duration::from_millis(100);

/// How many of those who joined are looked up at a time.
const AT_ONCE: usize = 16;

/// The consumer `unread`.
pub struct UnreadMarks {
    unread: Arc<dyn Unread>,
    dead_letters: Arc<dyn DeadLetters>,
    cards: Arc<dyn Cards>,
    counts: Counts,
    clock: Arc<dyn Clock>,
}

impl UnreadMarks {
    /// Marks kept by `unread`, with own totals by `counts`; `cards` are told of mentions.
    pub fn new(
        unread: Arc<dyn Unread>,
        dead_letters: Arc<dyn DeadLetters>,
        cards: Arc<dyn Cards>,
        counts: Counts,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            unread,
            dead_letters,
            cards,
            counts,
            clock,
        }
    }
}

#[async_trait]
impl Handler for UnreadMarks {
    fn consumer(&self) -> Consumer {
        Consumer::Unread
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        let own_at = |user, group, pos| async move {
            let own = self.counts.own_at(user, group, pos).await;
            own.map_err(passing)
        };
        record(&*self.unread, &*self.cards, &readable(batch)?, own_at).await
    }

    async fn bury(&self, letter: &Delivery, reason: &str) -> Result<()> {
        let (id, now) = (letter_id(Consumer::Unread, letter), self.clock.now());
        self.dead_letters
            .keep(id, now, &letter.payload(), reason)
            .await
    }
}

/// An event that cannot be read is looked past once it is buried: it says nothing against the one at
/// hand.
fn passing(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { .. } => error,
        StoreError::Corrupt { store, .. } | StoreError::Failed { store, .. } => {
            let source = error.into();
            StoreError::Unavailable { store, source }
        }
    }
}

/// Records what a batch says. `own_at` answers how much somebody had sent up to a position.
///
/// # Errors
/// `Corrupt` if an event cannot be read; as [`Unread::record`], [`Cards::note`] and `own_at`.
pub(in crate::pipeline) async fn record<F>(
    unread: &dyn Unread,
    cards: &dyn Cards,
    batch: &[(GroupId, Entry)],
    own_at: impl Fn(UserId, GroupId, Position) -> F + Sync,
) -> Result<()>
where
    F: Future<Output = Result<u64>> + Send,
{
    let mut learnt = learn(batch)?;
    let own_at = &own_at;
    let joined = take(&mut learnt.joined).into_iter();
    let joined = joined.map(|(group, user, mut mark)| async move {
        mark.totals.own = own_at(user, group, mark.pos).await?;
        Ok::<_, StoreError>((group, user, mark))
    });
    let joined = stream::iter(joined).buffered(AT_ONCE);
    learnt.joined = joined.try_collect().await?;
    unread.record(&learnt).await?;
    cards.note(&learnt).await
}

/// What a batch says, but for own totals.
fn learn(batch: &[(GroupId, Entry)]) -> Result<Learnt> {
    let mut learnt = Learnt::default();
    for (group, entry) in batch {
        look_inside(&mut learnt, *group, entry)?;
    }
    Ok(learnt)
}

/// Mentions and new members.
fn look_inside(learnt: &mut Learnt, group: GroupId, entry: &Entry) -> Result<()> {
    let event = entry.event().map_err(|error| {
        StoreError::corrupt(
            "log",
            format!("the event at {} of {group}: {error}", entry.pos),
        )
    })?;
    match event.fixed.content {
        Content::Message { mentions, .. } if mentions.is_all() => {
            learnt.mentions_all.push((group, entry.pos, entry.sender));
        }
        Content::Message { mentions, .. } => {
            let mention = Mention {
                by: entry.sender,
                at: entry.at,
            };
            let others = mentions
                .users()
                .iter()
                .filter(|user| **user != entry.sender);
            learnt
                .mentions
                .extend(others.map(|user| (group, *user, entry.pos, mention)));
        }
        Content::Joined { user, .. } => {
            let totals = Totals {
                count: entry.count,
                own: 0,
            };
            let mark = ReadMark {
                pos: entry.pos,
                totals,
            };
            learnt.joined.push((group, user, mark));
        }
        Content::Left { .. }
        | Content::Removed { .. }
        | Content::Role { .. }
        | Content::Settings { .. }
        | Content::Lost {} => {}
    }
    Ok(())
}
