//! The unread formula: totals instead of counters (dataflow.md, "Unread without counters").

use super::position::Position;

/// Totals of messages at one place of a log, for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Messages of everyone up to there (C).
    pub count: u64,
    /// Messages of this member up to there (O).
    pub own: u64,
}

/// How far a member has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadMark {
    /// The last position read.
    pub pos: Position,
    /// The totals at that position.
    pub totals: Totals,
}

/// Messages of others between what was read and the head. A read mark that runs ahead of the
/// totals at hand gives 0, never a negative number.
pub const fn unread(head: Totals, read: Totals) -> u64 {
    let all = head.count.saturating_sub(read.count);
    all.saturating_sub(head.own.saturating_sub(read.own))
}

/// What was unread before the newest `newer` messages came, at most all of which were counted.
pub const fn unread_since(unread: u64, newer: u64) -> u64 {
    unread.saturating_sub(newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn totals(count: u64, own: u64) -> Totals {
        Totals { count, own }
    }

    #[test]
    fn own_messages_never_count() {
        assert_eq!(unread(totals(10, 4), totals(3, 1)), 4);
        assert_eq!(unread(totals(10, 8), totals(3, 1)), 0);
    }

    #[test]
    fn sending_without_reading_marks_nothing_read() {
        let read = totals(3, 1);
        assert_eq!(unread(totals(5, 1), read), unread(totals(6, 2), read));
    }

    #[test]
    fn a_mark_ahead_of_the_head_gives_zero() {
        assert_eq!(unread(totals(3, 1), totals(5, 1)), 0);
    }
}
