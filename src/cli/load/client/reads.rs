//! The read cursors that a client wants the server to have. A read is repeated until it is
//! answered, at most one a second for each group; only the highest of a group matters.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::id::GroupId;
use crate::model::position::Position;

/// The pause between two reads of one group (protocol.md).
const PAUSE: Duration = Duration::from_secs(1);
/// How long an answer may take before the read is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The cursor of one group.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    wanted: Position,
    answered: Position,
    sent: Option<(u64, Position)>,
    /// Not before then.
    next: Duration,
}

/// The cursors of a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    cursors: BTreeMap<GroupId, Cursor>,
}

impl Reads {
    /// Wants the cursor of `group` at `pos`; a lower one than before changes nothing.
    pub(super) fn want(&mut self, group: GroupId, pos: Position) {
        let cursor = self.cursors.entry(group).or_default();
        cursor.wanted = cursor.wanted.max(pos);
    }

    /// Cursors of `group` that rows cut off are read at the last valid position.
    pub(super) fn clamp(&mut self, group: GroupId, clamp: impl Fn(Position) -> Position) {
        if let Some(cursor) = self.cursors.get_mut(&group) {
            cursor.wanted = clamp(cursor.wanted);
            cursor.answered = clamp(cursor.answered);
            cursor.sent = cursor.sent.map(|(id, pos)| (id, clamp(pos)));
        }
    }

    /// Unanswered reads are sent again on the next socket.
    pub(super) fn socket_lost(&mut self) {
        for cursor in self.cursors.values_mut() {
            cursor.sent = None;
            cursor.next = Duration::ZERO;
        }
    }

    /// The read under `id` is done. `false` for an id that is none of ours.
    pub(super) fn done(&mut self, id: u64) -> bool {
        let Some((cursor, pos)) = self.sent_as(id) else {
            return false;
        };
        cursor.sent = None;
        cursor.answered = cursor.answered.max(pos);
        true
    }

    /// The read under `id` was refused and is tried again at `at`, unless `None`: then it is
    /// given up. `false` for an id that is none of ours.
    pub(super) fn refused(&mut self, id: u64, at: Option<Duration>) -> bool {
        let Some((cursor, _)) = self.sent_as(id) else {
            return false;
        };
        cursor.sent = None;
        match at {
            Some(at) => cursor.next = at,
            None => cursor.wanted = cursor.answered,
        }
        true
    }

    fn sent_as(&mut self, id: u64) -> Option<(&mut Cursor, Position)> {
        self.cursors.values_mut().find_map(|cursor| {
            let (sent, pos) = cursor.sent?;
            (sent == id).then_some((cursor, pos))
        })
    }

    /// Whether every wanted cursor was answered.
    pub(super) fn is_settled(&self) -> bool {
        self.cursors
            .values()
            .all(|cursor| cursor.wanted <= cursor.answered)
    }

    /// The cursors that the server answered.
    pub(super) fn answered(&self) -> impl Iterator<Item = (GroupId, Position)> + '_ {
        self.cursors
            .iter()
            .map(|(group, cursor)| (*group, cursor.answered))
    }

    /// When the next read is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let open = self
            .cursors
            .values()
            .filter(|cursor| cursor.wanted > cursor.answered);
        open.map(|cursor| cursor.next).min()
    }

    /// What is to be sent now, each under a new id.
    pub(super) fn due(
        &mut self,
        now: Duration,
        mut next_id: impl FnMut() -> u64,
    ) -> Vec<(u64, GroupId, Position)> {
        let mut due = Vec::new();
        for (group, cursor) in &mut self.cursors {
            if cursor.wanted <= cursor.answered || cursor.next > now {
                continue;
            }
            let id = next_id();
            let repeat = cursor.sent.replace((id, cursor.wanted)).is_some();
            cursor.next = now + if repeat { ANSWER_TIMEOUT } else { PAUSE };
            due.push((id, *group, cursor.wanted));
        }
        due
    }
}
