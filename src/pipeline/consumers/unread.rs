//! Keeps what unread counts are made of: durable heads, own totals, mentions, and where members
//! began.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::Handler;
use super::persist::readable;
use crate::model::event::{Content, Entry};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::store::consumers::{Consumer, Delivery};
use crate::store::messages::Messages;
use crate::store::unread::{DurableHead, Learnt, Mention, Unread};
use crate::store::{Result, StoreError};

/// The consumer `unread`.
pub struct UnreadTotals {
    unread: Arc<dyn Unread>,
    messages: Arc<dyn Messages>,
}

impl UnreadTotals {
    /// Totals kept by `unread`; dead letters by `messages`.
    pub fn new(unread: Arc<dyn Unread>, messages: Arc<dyn Messages>) -> Self {
        Self { unread, messages }
    }
}

#[async_trait]
impl Handler for UnreadTotals {
    fn consumer(&self) -> Consumer {
        Consumer::Unread
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        let learnt = learn(&readable(batch)?)?;
        self.unread.record(&learnt).await
    }

    async fn bury(&self, letter: &Delivery, reason: &str) -> Result<()> {
        let name = Consumer::Unread.name();
        self.messages
            .keep_dead_letter(name, letter.group, letter.pos, letter.payload(), reason)
            .await
    }
}

/// What a batch says.
fn learn(batch: &[(GroupId, Entry)]) -> Result<Learnt> {
    let mut heads: HashMap<GroupId, DurableHead> = HashMap::new();
    let mut own: HashMap<(GroupId, UserId), (Position, u64)> = HashMap::new();
    let mut learnt = Learnt::default();
    for (group, entry) in batch {
        let head = DurableHead {
            pos: entry.pos,
            count: entry.count,
            at: entry.at,
        };
        heads.insert(*group, head);
        if entry.kind.is_counted() {
            own.insert((*group, entry.sender), (entry.pos, entry.sender_count));
        }
        look_inside(&mut learnt, *group, entry)?;
    }
    learnt.heads = heads.into_iter().collect();
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
