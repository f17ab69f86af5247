//! A user's groups as a list shows them: heads, counts, last messages, newest activity first.

use std::cmp::Reverse;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Result;
use crate::model::event::{Entry, Event};
use crate::model::group::{Group, Membership};
use crate::model::id::{GroupId, MerchantId, UserId};
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::time::Time;
use crate::store::counts::{Count, Counts};
use crate::store::directory::Directory;
use crate::store::history::History;
use crate::store::messages::Messages;

/// How far back a last message is looked for in the live log.
const LOOK_BACK: usize = 20;

/// One group of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// The group.
    pub group: Group,
    /// The own role.
    pub role: Role,
    /// Where one joined.
    pub joined: Position,
    /// The last event.
    pub head: Position,
    /// The stored watermark.
    pub stored: Position,
    /// Messages so far (C).
    pub count: u64,
    /// Messages unread.
    pub unread: u64,
    /// Mentions unread.
    pub mentions: u64,
    /// The last message that one may see.
    pub last: Option<Entry>,
    /// When something last happened.
    pub last_at: Time,
}

/// Reads lists of groups.
#[derive(Clone)]
pub struct Overview {
    directory: Arc<dyn Directory>,
    messages: Arc<dyn Messages>,
    counts: Counts,
    history: History,
}

impl Overview {
    /// Lists over these stores.
    pub fn new(
        directory: Arc<dyn Directory>,
        messages: Arc<dyn Messages>,
        counts: Counts,
        history: History,
    ) -> Self {
        Self {
            directory,
            messages,
            counts,
            history,
        }
    }

    /// The groups in which `user` is a member, of `only` if given; newest activity first.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn of(&self, user: UserId, only: Option<&[GroupId]>) -> Result<Vec<GroupState>> {
        let groups = match only {
            Some(only) => self.standing(user, only).await?,
            None => self.directory.groups_of(user).await?,
        };
        let ids: Vec<GroupId> = groups.iter().map(|(group, _)| group.id).collect();
        let counts = self.counts.of(user, &ids).await?;
        let upto: Vec<_> = ids
            .iter()
            .copied()
            .zip(counts.iter().map(|c| c.head.pos))
            .collect();
        let stored = self.messages.last_messages(&upto).await?;
        let mut states = Vec::with_capacity(groups.len());
        for (((group, membership), count), stored) in groups.into_iter().zip(counts).zip(stored) {
            let Some(joined) = membership.joined else {
                continue;
            };
            let last = self.last(group.id, &count, stored).await?;
            states.push(GroupState {
                role: membership.role,
                joined,
                head: count.head.pos,
                stored: count.head.stored,
                count: count.head.count,
                unread: count.unread,
                mentions: count.mentions,
                last: last.filter(|entry| entry.pos >= joined),
                last_at: count.head.at.max(group.created_at),
                group,
            });
        }
        states.sort_by_key(|state| Reverse((state.last_at, state.group.id)));
        Ok(states)
    }

    /// The named groups with the user's standing in each; those without one are left out.
    async fn standing(&self, user: UserId, ids: &[GroupId]) -> Result<Vec<(Group, Membership)>> {
        let mut groups = Vec::with_capacity(ids.len());
        for group in self.directory.groups(ids).await? {
            if let Some(membership) = self.directory.membership(group.id, user).await? {
                groups.push((group, membership));
            }
        }
        Ok(groups)
    }

    /// The last message: from the live log if the store does not have it yet.
    async fn last(
        &self,
        group: GroupId,
        count: &Count,
        stored: Option<Entry>,
    ) -> Result<Option<Entry>> {
        if stored
            .as_ref()
            .is_some_and(|entry| entry.count == count.head.count)
        {
            return Ok(stored);
        }
        let mut table = self.history.table(group).await?;
        let live = self
            .history
            .before(group, &mut table, None, LOOK_BACK)
            .await?;
        let live = live.into_iter().rev().find(|entry| entry.kind.is_counted());
        Ok(live.or(stored))
    }
}

/// A group as one of its members is told, by REST and by the frame `joined`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
pub struct GroupView<'a> {
    id: GroupId,
    merchant: MerchantId,
    #[schemars(example = &"老街面馆 1 群")]
    name: &'a str,
    /// The own role.
    role: Role,
    /// The last event.
    head: Position,
    /// Everything valid up to here is durable.
    stored: Position,
    /// Messages unread.
    unread: u64,
    /// Mentions unread.
    mentions: u64,
    /// How many members it has.
    members: u64,
    /// The last message that one may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Event>")]
    last: Option<Box<RawValue>>,
    created_at: Time,
}

impl<'a> GroupView<'a> {
    /// The view of a group's state.
    pub fn of(state: &'a GroupState) -> Self {
        Self {
            id: state.group.id,
            merchant: state.group.merchant,
            name: &state.group.name,
            role: state.role,
            head: state.head,
            stored: state.stored,
            unread: state.unread,
            mentions: state.mentions,
            members: state.group.members,
            last: state.last.as_ref().and_then(raw),
            created_at: state.group.created_at,
        }
    }
}

/// The kept text of an event, as it stands.
fn raw(entry: &Entry) -> Option<Box<RawValue>> {
    let mut text = Vec::new();
    entry.write_json(&mut text);
    RawValue::from_string(String::from_utf8(text).ok()?).ok()
}
