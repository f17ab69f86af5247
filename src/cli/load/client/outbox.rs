//! The sends that are not settled yet. An entry leaves when `stored` covers it or when the
//! server refused it for good; until then it is sent again after a reconnect, after `epoch`,
//! after 30 s, and when a busy server said so (protocol.md, "Receipts").

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::feed::Feed;
use crate::model::client_id::ClientId;
use crate::model::id::GroupId;
use crate::model::position::Position;

/// How long an entry waits for `stored` before it is sent again.
const RESEND_AFTER: Duration = Duration::from_secs(30);

/// One message on its way.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The number of the message in the run.
    pub(super) k: usize,
    /// Where to.
    pub(super) group: GroupId,
    /// The idempotency key, the same through all tries.
    pub(super) client_id: ClientId,
    /// What it says.
    pub(super) text: String,
    /// The head known at the first try; `None` before it.
    pub(super) again: Option<Position>,
    /// Where it was accepted, unless that position died.
    pub(super) accepted: Option<Position>,
    /// When it is to be sent again.
    due: Duration,
}

/// Entries in the order of their first try.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    tries: HashMap<u64, u64>,
    next: u64,
}

impl Outbox {
    /// Adds a message, due at once.
    pub(super) fn add(&mut self, k: usize, group: GroupId, client_id: ClientId, text: String) {
        let entry = Entry {
            k,
            group,
            client_id,
            text,
            again: None,
            accepted: None,
            due: Duration::ZERO,
        };
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// Whether everything is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The numbers of what is not settled.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The ids died with their socket; everything is due again on the next one.
    pub(super) fn socket_lost(&mut self) {
        self.tries.clear();
        for entry in self.entries.values_mut() {
            entry.due = Duration::ZERO;
        }
    }

    /// Positions of `group` that the rows told declare dead are forgotten, and what has no
    /// valid position is due at once.
    pub(super) fn epoch_told(&mut self, group: GroupId, feed: &Feed) {
        for entry in self
            .entries
            .values_mut()
            .filter(|entry| entry.group == group)
        {
            entry.accepted = entry.accepted.filter(|pos| !feed.is_dead(*pos));
            if entry.accepted.is_none() {
                entry.due = Duration::ZERO;
            }
        }
    }

    /// Notes where a send was accepted. Answers its number, unless the id is unknown; whether
    /// the position lives is for the caller to ask first.
    pub(super) fn accepted(&mut self, id: u64, pos: Position) -> Option<&Entry> {
        let entry = self.entries.get_mut(self.tries.get(&id)?)?;
        entry.accepted = Some(pos);
        Some(entry)
    }

    /// The group of a send.
    pub(super) fn group_of(&self, id: u64) -> Option<GroupId> {
        let entry = self.entries.get(self.tries.get(&id)?)?;
        Some(entry.group)
    }

    /// Takes out what the watermark of `group` settles.
    pub(super) fn settle(&mut self, group: GroupId, feed: &Feed) -> Vec<Entry> {
        let settled = |entry: &Entry| {
            entry.group == group && entry.accepted.is_some_and(|pos| feed.settles(pos))
        };
        let keys: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| settled(entry))
            .collect();
        let keys: Vec<_> = keys.into_iter().map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }

    /// Takes out a send that was refused for good.
    pub(super) fn refused(&mut self, id: u64) -> Option<Entry> {
        let key = *self.tries.get(&id)?;
        self.take(key)
    }

    /// Takes out everything of a group that one is no member of any more.
    pub(super) fn drop_group(&mut self, group: GroupId) -> Vec<Entry> {
        let of_group = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.group == group);
        let keys: Vec<_> = of_group.map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.take(key)).collect()
    }

    /// Takes out the newest try: the frame that the server closed the socket for with 1009.
    pub(super) fn drop_newest_try(&mut self) -> Option<Entry> {
        let newest = self.tries.keys().max().copied()?;
        self.refused(newest)
    }

    fn take(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.tries.retain(|_, of| *of != key);
        Some(entry)
    }

    /// The server asked to wait with a send until `at`.
    pub(super) fn postpone(&mut self, id: u64, at: Duration) -> bool {
        let entry = self
            .tries
            .get(&id)
            .and_then(|key| self.entries.get_mut(key));
        let Some(entry) = entry else { return false };
        entry.due = at;
        true
    }

    /// When the next send is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.entries.values().map(|entry| entry.due).min()
    }

    /// What is to be sent now, oldest first, each under a new id. `head_of` tells the head known
    /// of a group: at the first try it is remembered, and every later try carries it.
    pub(super) fn due(
        &mut self,
        now: Duration,
        mut next_id: impl FnMut() -> u64,
        head_of: impl Fn(GroupId) -> Position,
    ) -> Vec<(u64, Entry)> {
        let mut due = Vec::new();
        for (key, entry) in self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.due <= now)
        {
            let id = next_id();
            self.tries.insert(id, *key);
            due.push((id, entry.clone()));
            entry.again.get_or_insert_with(|| head_of(entry.group));
            entry.due = now + RESEND_AFTER;
        }
        due
    }
}
