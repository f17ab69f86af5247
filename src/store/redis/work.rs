//! What one consumer has to read in the partitions of this process, and in which order: plain
//! state, no I/O.
//!
//! A stream is first claimed, when its lease was just won; then its pending entries are read
//! again; then new ones. Entries that were read in an answer nobody got are read again from
//! above the last that was returned.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use super::leases::Digits;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::consumers::Delivery;

/// How to read a stream next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Take over what others left pending.
    Claim,
    /// Own pending entries above a position.
    Pending(Position),
    /// Entries that nobody has taken.
    New,
}

/// One stream to be read or claimed now. It comes back by [`Work::done`], [`Work::claimed`] or
/// [`Work::interrupted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) group: GroupId,
    pub(super) next: Next,
    /// The number of releases when it was planned.
    round: u64,
}

#[derive(Debug)]
struct Stream {
    next: Next,
    is_due: bool,
    /// Whether the durable list of dirty groups named it: if there is nothing, the list is wrong.
    is_listed: bool,
    /// Returned and not acknowledged.
    taken: BTreeSet<Position>,
}

/// The work of one consumer.
#[derive(Debug, Default)]
pub(super) struct Work {
    held: Digits,
    /// When the leases run out unless they are renewed.
    until: Option<Instant>,
    streams: HashMap<GroupId, Stream>,
    due: VecDeque<GroupId>,
    round: u64,
    /// Entries that are gone although nobody handled them, to be delivered as such.
    pub(super) lost: VecDeque<Delivery>,
    /// Streams that the durable list names although there was nothing to read.
    pub(super) listed_for_nothing: Vec<GroupId>,
}

impl Work {
    /// The digits whose dirty groups are known here.
    pub(super) const fn held(&self) -> Digits {
        self.held
    }

    /// The leases hold until `until`, and only those of `digits`. Those that had run out before
    /// are counted as lost, for somebody else may have had them in between.
    pub(super) fn renew(&mut self, digits: Digits, now: Instant, until: Instant) {
        let lapsed = self.until.is_some_and(|until| until <= now);
        self.held = if lapsed {
            Digits::NONE
        } else {
            self.held.both(digits)
        };
        self.until = Some(until);
        self.streams
            .retain(|group, _| self.held.contains(digit(*group)));
    }

    /// Begins with the partitions of `gained`, of which `dirty` have something to be handled.
    pub(super) fn gain(&mut self, gained: Digits, dirty: &[GroupId]) {
        self.held = gained.iter().fold(self.held, Digits::with);
        for group in dirty.iter().filter(|group| gained.contains(digit(**group))) {
            self.mark(*group, true);
            if let Some(stream) = self.streams.get_mut(group) {
                stream.next = Next::Claim;
            }
        }
    }

    /// Notes that a stream changed, or that the durable list names it.
    pub(super) fn mark(&mut self, group: GroupId, is_listed: bool) {
        if !self.held.contains(digit(group)) {
            return;
        }
        let stream = self.streams.entry(group).or_insert_with(|| Stream {
            next: Next::New,
            is_due: false,
            is_listed: false,
            taken: BTreeSet::new(),
        });
        stream.is_listed |= is_listed;
        if !stream.is_due {
            stream.is_due = true;
            self.due.push_back(group);
        }
    }

    /// Up to `max` streams that are due, those to be claimed or those to be read; nothing once the
    /// leases ran out.
    pub(super) fn plan(&mut self, max: usize, now: Instant, claims: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.until.is_none_or(|until| until <= now) {
            return steps;
        }
        let mut others = VecDeque::new();
        while steps.len() < max
            && let Some(group) = self.due.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&group).filter(|s| s.is_due) else {
                continue;
            };
            if (stream.next == Next::Claim) == claims {
                stream.is_due = false;
                steps.push(Step {
                    group,
                    next: stream.next,
                    round: self.round,
                });
            } else {
                others.push_back(group);
            }
        }
        others.append(&mut self.due);
        self.due = others;
        steps
    }

    /// Whether [`Work::plan`] would find something.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_held = self.until.is_some_and(|until| now < until);
        is_held && (!self.due.is_empty() || !self.lost.is_empty())
    }

    /// A stream was claimed, and is to be read from its first pending entry; or it is gone.
    pub(super) fn claimed(&mut self, step: Step, exists: bool) {
        if !exists {
            self.streams.remove(&step.group);
        } else if let Some(stream) = self.streams.get_mut(&step.group) {
            stream.next = Next::Pending(Position::START);
            self.mark(step.group, false);
        }
    }

    /// A stream was read: `found` are the positions about to be returned, `is_full` tells that
    /// there may be more. Answers whether they may be returned: not if the lease was lost, for
    /// whoever has it claims them.
    pub(super) fn done(&mut self, step: Step, found: &[Position], is_full: bool) -> bool {
        let Some(stream) = self
            .streams
            .get_mut(&step.group)
            .filter(|s| s.next != Next::Claim)
        else {
            return false;
        };
        stream.taken.extend(found);
        let is_stale = self.round != step.round;
        if !is_stale {
            stream.next = match (step.next, found.last()) {
                (Next::Pending(_), Some(last)) if is_full => Next::Pending(*last),
                _ => Next::New,
            };
        }
        let is_read_to_the_end = step.next == Next::New && !is_full;
        let was_listed = is_read_to_the_end && std::mem::take(&mut stream.is_listed);
        if was_listed && stream.taken.is_empty() {
            self.listed_for_nothing.push(step.group);
        }
        if is_read_to_the_end && !is_stale {
            self.forget_idle(step.group);
        } else {
            self.mark(step.group, false);
        }
        true
    }

    /// Nobody got the answer for this step: what it read is pending above what was returned.
    pub(super) fn interrupted(&mut self, step: Step) {
        let Some(stream) = self.streams.get_mut(&step.group) else {
            return;
        };
        if stream.next == Next::New {
            let last = stream.taken.last().copied().unwrap_or_default();
            stream.next = Next::Pending(last);
        }
        self.mark(step.group, false);
    }

    /// The stream has no place for this consumer: it must be claimed, which makes one.
    pub(super) fn unknown(&mut self, step: Step) {
        if let Some(stream) = self.streams.get_mut(&step.group) {
            stream.next = Next::Claim;
            self.mark(step.group, false);
        }
    }

    /// These were handled.
    pub(super) fn acknowledged(&mut self, group: GroupId, done: &[Position]) {
        if let Some(stream) = self.streams.get_mut(&group) {
            done.iter().for_each(|pos| {
                stream.taken.remove(pos);
            });
            self.forget_idle(group);
        }
    }

    /// Everything that was returned and not acknowledged is to be returned again.
    pub(super) fn release(&mut self) {
        self.round += 1;
        let mut again = Vec::new();
        for (group, stream) in &mut self.streams {
            if !std::mem::take(&mut stream.taken).is_empty() && stream.next != Next::Claim {
                stream.next = Next::Pending(Position::START);
                again.push(*group);
            }
        }
        again.into_iter().for_each(|group| self.mark(group, false));
    }

    fn forget_idle(&mut self, group: GroupId) {
        let is_idle = |stream: &Stream| {
            stream.taken.is_empty()
                && !stream.is_due
                && !stream.is_listed
                && stream.next == Next::New
        };
        if self.streams.get(&group).is_some_and(is_idle) {
            self.streams.remove(&group);
        }
    }
}

fn digit(group: GroupId) -> u8 {
    group.partition().digit()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::time::Time;

    const ALL: Digits = Digits::ALL;

    fn held() -> (Work, Instant) {
        let (mut work, now) = (Work::default(), Instant::now());
        work.renew(ALL, now, now + Duration::from_secs(10));
        work.gain(ALL, &[]);
        (work, now)
    }

    fn group() -> GroupId {
        GroupId::generate(Time::from_millis(1_764_000_000_000))
    }

    fn at(seq: u64) -> Position {
        Position::new(1, seq)
    }

    /// The one step that is due.
    fn step(work: &mut Work, now: Instant) -> Step {
        let steps = work.plan(9, now, false);
        assert_eq!(steps.len(), 1);
        steps[0]
    }

    #[test]
    fn many_rings_make_one_step() {
        let (mut work, now) = held();
        let group = group();
        (0..3).for_each(|_| work.mark(group, false));
        assert_eq!(step(&mut work, now).next, Next::New);
        assert!(work.plan(9, now, false).is_empty());
    }

    #[test]
    fn a_gained_stream_is_claimed_then_its_pending_entries_come_then_new_ones() {
        let (mut work, now) = held();
        let group = group();
        work.gain(ALL, &[group]);
        assert!(work.plan(9, now, false).is_empty());
        let claim = work.plan(9, now, true)[0];
        work.claimed(claim, true);
        let pending = step(&mut work, now);
        assert_eq!(pending.next, Next::Pending(Position::START));
        work.done(pending, &[at(1), at(2)], true);
        let pending = step(&mut work, now);
        assert_eq!(pending.next, Next::Pending(at(2)));
        work.done(pending, &[], false);
        assert_eq!(step(&mut work, now).next, Next::New);
    }

    #[test]
    fn an_interrupted_read_is_made_again_above_what_was_returned() {
        let (mut work, now) = held();
        let group = group();
        work.mark(group, false);
        let first = step(&mut work, now);
        work.done(first, &[at(1), at(2)], false);
        work.acknowledged(group, &[at(1)]);
        work.mark(group, false);
        let second = step(&mut work, now);
        work.interrupted(second);
        assert_eq!(step(&mut work, now).next, Next::Pending(at(2)));
    }

    #[test]
    fn a_release_during_a_read_is_not_forgotten() {
        let (mut work, now) = held();
        let group = group();
        work.mark(group, false);
        let first = step(&mut work, now);
        work.done(first, &[at(1)], false);
        work.mark(group, false);
        let second = step(&mut work, now);
        work.release();
        assert!(work.done(second, &[at(2)], false));
        assert_eq!(step(&mut work, now).next, Next::Pending(Position::START));
    }

    #[test]
    fn nothing_is_planned_or_returned_without_a_lease() {
        let (mut work, now) = held();
        let group = group();
        work.mark(group, false);
        let late = now + Duration::from_secs(10);
        assert!(work.plan(9, late, false).is_empty());
        let read = step(&mut work, now);
        work.renew(ALL, late, late + Duration::from_secs(10));
        assert_eq!(
            work.held(),
            Digits::NONE,
            "somebody else may have had it in between"
        );
        assert!(!work.done(read, &[at(1)], false));
    }

    #[test]
    fn what_is_handled_is_forgotten() {
        let (mut work, now) = held();
        let group = group();
        work.mark(group, true);
        let read = step(&mut work, now);
        work.done(read, &[at(1)], false);
        work.acknowledged(group, &[at(1)]);
        assert!(work.streams.is_empty());
        work.mark(group, true);
        let read = step(&mut work, now);
        work.done(read, &[], false);
        assert_eq!(work.listed_for_nothing, [group]);
        assert!(work.streams.is_empty());
    }
}
