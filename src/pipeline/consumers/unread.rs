//! Keeps what unread counts are made of: own totals, mentions, and where members began.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::persist::readable;
use super::{Handler, letter_id};
use crate::clock::Clock;
use crate::model::event::{Content, Entry};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::store::cards::Cards;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::dead_letters::DeadLetters;
use crate::store::unread::{Learnt, Mention, Unread};
use crate::store::{Result, StoreError};

/// Nobody waits for it: what is newer than the last batch is counted from the log.
const PERIOD: Duration = Duration::from_millis(100);

/// The consumer `unread`.
pub struct UnreadTotals {
    unread: Arc<dyn Unread>,
    dead_letters: Arc<dyn DeadLetters>,
    cards: Arc<dyn Cards>,
    clock: Arc<dyn Clock>,
}

impl UnreadTotals {
    /// Totals kept by `unread`; `cards` are told of mentions.
    pub fn new(
        unread: Arc<dyn Unread>,
        dead_letters: Arc<dyn DeadLetters>,
        cards: Arc<dyn Cards>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            unread,
            dead_letters,
            cards,
            clock,
        }
    }
}

#[async_trait]
impl Handler for UnreadTotals {
    fn consumer(&self) -> Consumer {
        Consumer::Unread
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        record(&*self.unread, &*self.cards, &readable(batch)?).await
    }

    async fn bury(&self, letter: &Delivery, reason: &str) -> Result<()> {
        let (id, now) = (letter_id(Consumer::Unread, letter), self.clock.now());
        self.dead_letters
            .keep(id, now, &letter.payload(), reason)
            .await
    }
}

/// Records what a batch says.
///
/// # Errors
/// `Corrupt` if an event cannot be read; as [`Unread::record`] and [`Cards::note`].
pub(in crate::pipeline) async fn record(
    unread: &dyn Unread,
    cards: &dyn Cards,
    batch: &[(GroupId, Entry)],
) -> Result<()> {
    let learnt = learn(batch)?;
    unread.record(&learnt).await?;
    cards.note(&learnt).await
}

/// What a batch says.
fn learn(batch: &[(GroupId, Entry)]) -> Result<Learnt> {
    let mut own: HashMap<(GroupId, UserId), (Position, u64)> = HashMap::new();
    let mut learnt = Learnt::default();
    for (group, entry) in batch {
        if entry.kind.is_counted() {
            own.insert((*group, entry.sender), (entry.pos, entry.sender_count));
        }
        look_inside(&mut learnt, *group, entry)?;
    }
    learnt.own = own
        .into_iter()
        .map(|((g, user), (pos, o))| (g, user, pos, o))
        .collect();
    Ok(learnt)
}

/// Mentions and new members.
fn look_inside(learnt: &mut Learnt, group: GroupId, entry: &Entry) -> Result<()> {
    let event = entry.event().map_err(|error| StoreError::Corrupt {
        store: "log",
        what: format!("the event at {} of {group}: {error}", entry.pos),
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
            learnt.joined.push((group, user, entry.pos, entry.count));
        }
        Content::Left { .. }
        | Content::Removed { .. }
        | Content::Role { .. }
        | Content::Settings { .. }
        | Content::Lost {} => {}
    }
    Ok(())
}
