//! The doorbell between writers and readers of the log, within this process: after a commit the
//! groups that got events are rung, and every listener finds out which.
//!
//! It carries no data and loses nothing: what rang is kept as a set until the listener asks. A
//! set that would grow past [`GROUPS_MAX`] becomes "all of them", so a listener that never asks
//! costs a bounded amount of memory.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::model::id::GroupId;

/// How many groups a listener keeps apart, about 1 MiB.
const GROUPS_MAX: usize = 65_536;

/// Rings the listeners.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    listeners: Mutex<Vec<Weak<Listener>>>,
}

/// What rang since a listener last asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rung {
    /// These groups; perhaps none.
    Groups(HashSet<GroupId>),
    /// Any group may have: compare them all.
    All,
}

/// One that is rung. A new one begins with [`Rung::All`], for it knows nothing yet.
#[derive(Debug)]
pub(super) struct Listener {
    rung: Mutex<Rung>,
    bell: Notify,
}

impl Doorbell {
    /// A new listener; it is forgotten when the last handle to it is dropped.
    pub(super) fn listen(&self) -> Arc<Listener> {
        let listener = Arc::new(Listener {
            rung: Mutex::new(Rung::All),
            bell: Notify::new(),
        });
        let mut listeners = lock(&self.listeners);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(Arc::downgrade(&listener));
        listener
    }

    /// Tells every listener that these groups have something new.
    pub(super) fn ring(&self, groups: &HashSet<GroupId>) {
        if groups.is_empty() {
            return;
        }
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            lock(&listener.rung).add(groups);
            listener.wake();
        }
    }
}

impl Rung {
    fn add(&mut self, groups: &HashSet<GroupId>) {
        if let Self::Groups(known) = self {
            known.extend(groups);
            if known.len() > GROUPS_MAX {
                *self = Self::All;
            }
        }
    }
}

impl Listener {
    /// What rang since the last call.
    pub(super) fn take(&self) -> Rung {
        std::mem::replace(&mut lock(&self.rung), Rung::Groups(HashSet::new()))
    }

    /// Makes whoever waits look again.
    pub(super) fn wake(&self) {
        self.bell.notify_one();
    }

    /// Waits until something rang that was perhaps not taken yet. Cancel safe.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// A panic while one of these locks is held leaves nothing half changed that matters: at worst
/// a group is rung twice.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Groups that are to be looked at, each once, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    order: VecDeque<GroupId>,
    members: HashSet<GroupId>,
}

impl Dirty {
    /// Adds a group at the end, unless it waits already.
    pub(super) fn push(&mut self, group: GroupId) {
        if self.members.insert(group) {
            self.order.push_back(group);
        }
    }

    /// Puts groups before all others.
    pub(super) fn push_first(&mut self, groups: impl IntoIterator<Item = GroupId>) {
        let behind = std::mem::take(self).order;
        groups.into_iter().for_each(|group| self.push(group));
        behind.into_iter().for_each(|group| self.push(group));
    }

    /// The first groups, at most `max`; they stay.
    pub(super) fn first(&self, max: usize) -> Vec<GroupId> {
        self.order.iter().take(max).copied().collect()
    }

    /// Takes the first `looked_at` groups out, and puts those that need another look at the end,
    /// so that a busy group cannot keep the others waiting.
    pub(super) fn advance(&mut self, looked_at: usize, again: impl IntoIterator<Item = GroupId>) {
        for group in self.order.drain(..looked_at.min(self.order.len())) {
            self.members.remove(&group);
        }
        again.into_iter().for_each(|group| self.push(group));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u128) -> GroupId {
        GroupId::from_bytes(number.to_be_bytes())
    }

    #[test]
    fn a_listener_finds_every_group_that_rang_since_it_asked() {
        let doorbell = Doorbell::default();
        let listener = doorbell.listen();
        assert_eq!(listener.take(), Rung::All, "a new one knows nothing");
        let (one, two) = (group(1), group(2));
        doorbell.ring(&HashSet::from([one]));
        doorbell.ring(&HashSet::from([one, two]));
        assert_eq!(listener.take(), Rung::Groups(HashSet::from([one, two])));
        assert_eq!(listener.take(), Rung::Groups(HashSet::new()));
    }

    #[test]
    fn a_listener_that_never_asks_keeps_a_bounded_set() {
        let doorbell = Doorbell::default();
        let listener = doorbell.listen();
        let _known = listener.take();
        let many: HashSet<_> = (0..=GROUPS_MAX as u128).map(group).collect();
        doorbell.ring(&many);
        assert_eq!(listener.take(), Rung::All);
    }

    #[test]
    fn a_group_that_needs_another_look_goes_behind_the_others() {
        let (one, two) = (group(1), group(2));
        let mut dirty = Dirty::default();
        [one, two, one].into_iter().for_each(|id| dirty.push(id));
        assert_eq!(dirty.first(10), [one, two]);
        dirty.advance(1, [one]);
        assert_eq!(dirty.first(10), [two, one]);
        dirty.advance(2, []);
        assert!(dirty.is_empty());
    }
}
