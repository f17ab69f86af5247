//! How far one consumer has come in one group, as plain data: what was handled, what was taken,
//! and what is between.
//!
//! Every event up to `offset` was handled. Above it are those taken and not yet acknowledged
//! (`pending`) and those acknowledged out of order (`above`); up to `read` there are no others.

use std::collections::BTreeSet;

use crate::model::position::Position;

/// One consumer's progress in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    offset: Position,
    read: Position,
    pending: BTreeSet<Position>,
    above: BTreeSet<Position>,
}

impl Progress {
    /// As the file keeps it: the offset, and what was handled above it.
    pub(super) fn new(offset: Position, above: impl IntoIterator<Item = Position>) -> Self {
        Self {
            offset,
            read: offset,
            pending: BTreeSet::new(),
            above: above.into_iter().filter(|pos| *pos > offset).collect(),
        }
    }

    /// Every event up to here was handled.
    pub(super) const fn offset(&self) -> Position {
        self.offset
    }

    /// Where to read on.
    pub(super) const fn read(&self) -> Position {
        self.read
    }

    /// What was handled above the offset.
    pub(super) fn above(&self) -> impl Iterator<Item = Position> + '_ {
        self.above.iter().copied()
    }

    /// Notes that the next event stands at `pos`; answers whether it is to be handled.
    pub(super) fn take(&mut self, pos: Position) -> bool {
        self.read = self.read.max(pos);
        let is_new = !self.above.contains(&pos);
        if is_new {
            self.pending.insert(pos);
        }
        is_new
    }

    /// Notes that the event at `pos` was handled, and moves the offset up to the first event
    /// that was not.
    pub(super) fn ack(&mut self, pos: Position) {
        self.pending.remove(&pos);
        if pos > self.offset {
            self.above.insert(pos);
        }
        while let Some(next) = self.above.first().copied().filter(|pos| self.is_next(*pos)) {
            self.offset = next;
            self.above.remove(&next);
        }
    }

    /// Whether nothing unhandled lies below the acknowledged `pos`.
    fn is_next(&self, pos: Position) -> bool {
        let unhandled = self.pending.first();
        pos <= self.read && unhandled.is_none_or(|first| pos < *first)
    }

    /// Gives back what was taken and not acknowledged; answers whether that is anything.
    pub(super) fn release(&mut self) -> bool {
        let had_any = !self.pending.is_empty();
        self.pending.clear();
        self.read = self.offset;
        had_any
    }

    /// Whether the file knows all of this, so that it need not be remembered.
    pub(super) fn is_at_rest(&self) -> bool {
        self.pending.is_empty() && self.above.is_empty() && self.read == self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Position {
        Position::new(1, seq)
    }

    fn taken(seqs: std::ops::RangeInclusive<u64>) -> Progress {
        let mut progress = Progress::new(at(0), []);
        seqs.for_each(|seq| assert!(progress.take(at(seq))));
        progress
    }

    #[test]
    fn the_offset_moves_only_over_handled_events() {
        let mut progress = taken(1..=3);
        progress.ack(at(2));
        assert_eq!(progress.offset(), at(0));
        assert_eq!(progress.above().collect::<Vec<_>>(), [at(2)]);
        progress.ack(at(1));
        assert_eq!(progress.offset(), at(2));
        assert!(!progress.is_at_rest(), "3 is pending");
        progress.ack(at(3));
        assert_eq!(progress.offset(), at(3));
        assert!(progress.is_at_rest());
    }

    #[test]
    fn released_events_come_again_and_handled_ones_do_not() {
        let mut progress = taken(1..=3);
        progress.ack(at(2));
        assert!(progress.release());
        assert_eq!(progress.read(), at(0));
        let again: Vec<_> = (1..=3).filter(|seq| progress.take(at(*seq))).collect();
        assert_eq!(again, [1, 3]);
    }

    #[test]
    fn an_ack_after_a_release_moves_no_offset_over_what_was_not_read() {
        let mut progress = taken(1..=3);
        assert!(progress.release());
        progress.ack(at(3));
        assert_eq!(progress.offset(), at(0));
        let again: Vec<_> = (1..=3).filter(|seq| progress.take(at(*seq))).collect();
        assert_eq!(again, [1, 2]);
        progress.ack(at(1));
        progress.ack(at(2));
        assert_eq!(progress.offset(), at(3));
    }

    #[test]
    fn what_the_file_kept_above_the_offset_is_not_handled_again() {
        let mut progress = Progress::new(at(1), [at(1), at(3)]);
        let taken: Vec<_> = (2..=4).filter(|seq| progress.take(at(*seq))).collect();
        assert_eq!(taken, [2, 4]);
    }
}
