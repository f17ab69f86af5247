//! Which positions of a group count: its epoch table, as pure functions (epochs.md, "Words").

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::position::{Epoch, Position, Seq};

/// One re-opening of a group's log. As JSON `[epoch, start, count]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Epoch, Seq, u64)", into = "(Epoch, Seq, u64)")]
pub struct Row {
    /// The epoch that began.
    pub epoch: Epoch,
    /// The first seq that belongs to it.
    pub start: Seq,
    /// Countable messages before `start`: C of the last valid event below it.
    pub count: u64,
}

/// Neighbouring positions of one epoch, both ends included; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The epoch of all of them.
    pub epoch: Epoch,
    /// The first seq.
    pub first: Seq,
    /// The last seq.
    pub last: Seq,
}

impl Span {
    /// How many positions it has.
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Its positions in spans of `most` at most, ascending.
    pub fn chunks(self, most: u64) -> impl Iterator<Item = Self> {
        let firsts = (self.first..=self.last).step_by(usize::try_from(most).unwrap_or(usize::MAX));
        firsts.map(move |first| Self {
            first,
            last: self.last.min(first.saturating_add(most - 1)),
            ..self
        })
    }
}

impl From<(Epoch, Seq, u64)> for Row {
    fn from((epoch, start, count): (Epoch, Seq, u64)) -> Self {
        Self {
            epoch,
            start,
            count,
        }
    }
}

impl From<Row> for (Epoch, Seq, u64) {
    fn from(row: Row) -> Self {
        (row.epoch, row.start, row.count)
    }
}

/// The rows of one group, rising in epoch. Cheap to clone: it is looked at for every event that
/// is pushed, and changes with an epoch only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EpochTable {
    rows: Arc<BTreeMap<Epoch, Row>>,
}

impl FromIterator<Row> for EpochTable {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.epoch, row)).collect();
        Self {
            rows: Arc::new(rows),
        }
    }
}

impl EpochTable {
    /// The rows, lowest epoch first.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.values().copied()
    }

    /// The newest row; `None` for a group that was never opened.
    pub fn last(&self) -> Option<Row> {
        self.rows.values().next_back().copied()
    }

    /// The newest epoch; 0 for a group that was never opened.
    pub fn epoch(&self) -> Epoch {
        self.last().map_or(0, |row| row.epoch)
    }

    /// The row of `epoch`.
    pub fn row(&self, epoch: Epoch) -> Option<Row> {
        self.rows.get(&epoch).copied()
    }

    /// The rows above `epoch`: what a reader told only up to it must be told.
    pub fn above(&self, epoch: Epoch) -> impl Iterator<Item = Row> + '_ {
        self.rows
            .range(epoch.saturating_add(1)..)
            .map(|(_, row)| *row)
    }

    /// Whether `(e, s)` counts: e has a row, `s ≥ start(e)`, and no later row starts at or
    /// below s. Anything else never happened, wherever it may still lie.
    pub fn is_valid(&self, position: Position) -> bool {
        let starts = self
            .rows
            .get(&position.epoch)
            .is_some_and(|row| position.seq >= row.start);
        starts && !self.is_cut_off(position)
    }

    /// Whether a later epoch began at or below the position.
    fn is_cut_off(&self, position: Position) -> bool {
        self.above(position.epoch)
            .any(|row| row.start <= position.seq)
    }

    /// Whether a log whose last entry id is `top` may be continued after it: `top` is valid, or
    /// it is the empty top just below its epoch's first seq. The rule is `Top::ByTable` of the
    /// epoch model.
    pub fn is_valid_top(&self, top: Position) -> bool {
        let opened_empty = self
            .rows
            .get(&top.epoch)
            .is_some_and(|row| row.start == top.seq + 1);
        top.seq > 0 && (self.is_valid(top) || (opened_empty && !self.is_cut_off(top)))
    }

    /// The last position that a holder of `held` may keep once it has applied every row: `held`
    /// itself, or the position just below the earliest start that cuts it off.
    pub fn clamp(&self, held: Position) -> Position {
        match self.above(held.epoch).map(|row| row.start).min() {
            Some(start) if start <= held.seq => Position::new(held.epoch, start - 1),
            _ => held,
        }
    }

    /// Where a log ends that holds everything valid up to `last`: there, or at the empty top of a newest
    /// epoch that began right behind it, which is where the opening of a log puts its head.
    pub fn end_at(&self, last: Position) -> Position {
        match self.last() {
            Some(row) if row.epoch > last.epoch && row.start == last.seq + 1 && last.seq > 0 => {
                Position::new(row.epoch, last.seq)
            }
            Some(_) | None => last,
        }
    }

    /// The last valid position that somebody may go on from who knows of a `dead` one.
    pub fn valid_up_to(&self, dead: Position) -> Position {
        self.at(self.clamp(dead).seq).unwrap_or_default()
    }

    /// The position at `seq` that is valid, if one is: of the newest epoch that began there or below.
    pub fn at(&self, seq: Seq) -> Option<Position> {
        let began = self.rows().filter(|row| row.start <= seq);
        began.last().map(|row| Position::new(row.epoch, seq))
    }

    /// The valid positions of the seqs from `first` to `last`, as ranges of one epoch each, ascending.
    pub fn spans(&self, first: Seq, last: Seq) -> impl Iterator<Item = Span> + '_ {
        self.rows().filter_map(move |row| {
            let next = self.above(row.epoch).map(|row| row.start).min();
            let end = next.map_or(last, |next| last.min(next.saturating_sub(1)));
            let (epoch, first) = (row.epoch, first.max(row.start));
            (first <= end).then_some(Span {
                epoch,
                first,
                last: end,
            })
        })
    }

    /// Messages counted before the event after `held`, when the table alone can say it: the
    /// `count` of the row that cut `held` off (epochs.md rule 8).
    pub fn count_at_cut(&self, held: Position) -> Option<(Seq, u64)> {
        let cut = self
            .above(held.epoch)
            .filter(|row| row.start <= held.seq)
            .min_by_key(|r| r.start);
        cut.map(|row| (row.start - 1, row.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> EpochTable {
        [
            Row::from((1, 1, 0)),
            Row::from((3, 11, 9)),
            Row::from((4, 8, 6)),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_position_is_valid_until_a_later_row_starts_at_or_below_it() {
        let table = table();
        assert!(table.is_valid(Position::new(1, 7)));
        assert!(!table.is_valid(Position::new(1, 8)), "epoch 4 began at 8");
        assert!(!table.is_valid(Position::new(3, 12)), "epoch 4 began below");
        assert!(table.is_valid(Position::new(4, 8)));
        assert!(
            !table.is_valid(Position::new(4, 7)),
            "below the start of its own epoch"
        );
        assert!(
            !table.is_valid(Position::new(2, 5)),
            "an epoch without a row"
        );
    }

    #[test]
    fn what_is_held_is_cut_just_below_the_earliest_later_start() {
        let table = table();
        assert_eq!(table.clamp(Position::new(1, 20)), Position::new(1, 7));
        assert_eq!(table.clamp(Position::new(1, 5)), Position::new(1, 5));
        assert_eq!(table.count_at_cut(Position::new(1, 20)), Some((7, 6)));
        assert_eq!(table.count_at_cut(Position::new(4, 20)), None);
    }

    #[test]
    fn a_log_opened_empty_may_be_continued_at_its_start() {
        let table = table();
        assert!(table.is_valid_top(Position::new(4, 7)));
        assert!(table.is_valid_top(Position::new(4, 9)));
        assert!(!table.is_valid_top(Position::new(3, 10)));
        assert!(!table.is_valid_top(Position::START));
    }

    #[test]
    fn a_log_ends_in_an_epoch_that_began_right_behind_its_last_event() {
        let table = table();
        assert_eq!(table.end_at(Position::new(1, 7)), Position::new(4, 7));
        for last in [Position::new(1, 6), Position::new(4, 8), Position::START] {
            assert_eq!(table.end_at(last), last);
        }
    }

    #[test]
    fn who_knows_of_a_dead_position_may_go_on_from_a_valid_one() {
        let table = table();
        for (dead, valid) in [
            ((1, 20), (1, 7)),
            ((3, 12), (1, 7)),
            ((2, 5), (1, 5)),
            ((4, 3), (1, 3)),
        ] {
            let at = |(epoch, seq)| Position::new(epoch, seq);
            let (dead, valid) = (at(dead), at(valid));
            assert!(!table.is_valid(dead) && table.is_valid(valid));
            assert_eq!(table.valid_up_to(dead), valid);
        }
    }

    #[test]
    fn one_position_of_a_seq_is_valid() {
        let table = table();
        for (seq, epoch) in [(1, 1), (7, 1), (8, 4), (11, 4), (99, 4)] {
            let pos = Position::new(epoch, seq);
            assert_eq!(table.at(seq), Some(pos));
            assert!(table.is_valid(pos));
        }
        assert_eq!(table.at(0), None);
    }

    #[test]
    fn spans_hold_the_valid_positions_and_no_other() {
        let table = table();
        for (first, last) in [(1, 12), (3, 7), (8, 8), (7, 9), (0, 6)] {
            let spans: Vec<_> = table.spans(first, last).collect();
            let small: Vec<_> = spans.iter().flat_map(|span| span.chunks(2)).collect();
            assert!(small.iter().all(|span| span.count() <= 2));
            for spans in [spans, small] {
                let held = spans.iter().flat_map(|span| {
                    (span.first..=span.last).map(|seq| Position::new(span.epoch, seq))
                });
                let valid = (first.max(1)..=last).filter_map(|seq| table.at(seq));
                assert!(held.eq(valid), "{first} to {last}: {spans:?}");
            }
        }
        assert_eq!(table.spans(5, 4).count(), 0);
    }

    #[test]
    fn only_rows_above_the_told_epoch_are_told() {
        let epochs: Vec<_> = table().above(1).map(|row| row.epoch).collect();
        assert_eq!(epochs, [3, 4]);
    }
}
