//! What clients missed, read and encoded once for all who come back: when a node or a network goes
//! away, everybody in a group asks for nearly the same events at nearly the same time.
//!
//! Of each group the last piece that was read is kept for a while, as it stands in frames. Who
//! missed a part of it is served from there; who missed newer events too has it read on. What is
//! kept never outlives the epochs it was read under.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Mutex;

use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition};
use crate::model::position::{Epoch, Position};
use crate::protocol::server::events_of;
use crate::store::Result;
use crate::store::history::History;
use crate::telemetry::{Metrics, show_zero};

/// Bytes of all that is kept.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A piece that grew above this is read anew instead of on.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// For how long nobody need ask for a piece until it is dropped.
const KEPT_IDLE: Duration = Duration::from_secs(30);

/// The labels of what was missed.
const FROM_STORES: &str = "stores";
const FROM_KEPT: &str = "kept";

/// Events in one frame.
const FRAME_EVENTS: usize = 100;

/// Reads what was missed.
#[derive(Clone)]
pub(super) struct Reader {
    history: History,
    metrics: Metrics,
    kept: Cache<GroupId, Arc<Piece>>,
    /// By partition: of those who miss the same, one reads and the others wait.
    turns: Arc<[Mutex<()>]>,
}

/// Valid events of one group without a hole, encoded.
#[derive(Debug, Clone, Default)]
struct Piece {
    /// The newest epoch that was known when it was read.
    epoch: Epoch,
    after: Position,
    last: Position,
    /// The events, each but the last with a comma behind it.
    text: Vec<u8>,
    /// Where each event ends, before its comma.
    ends: Vec<usize>,
}

/// Events that somebody missed.
#[derive(Debug, Clone, Default)]
pub struct Missed {
    piece: Arc<Piece>,
    events: Range<usize>,
}

impl Reader {
    pub(super) fn new(history: History, metrics: Metrics) -> Self {
        show_zero(&metrics.resume_reads, FROM_STORES);
        show_zero(&metrics.resume_reads, FROM_KEPT);
        let weight = |_: &GroupId, piece: &Arc<Piece>| piece.weight();
        let kept = Cache::builder()
            .weigher(weight)
            .max_capacity(KEPT_BYTES_MAX)
            .time_to_idle(KEPT_IDLE)
            .build();
        Self {
            history,
            metrics,
            kept,
            turns: (0..Partition::COUNT).map(|_| Mutex::default()).collect(),
        }
    }

    /// The events above `held` up to `head`, both valid by `table`; `None` if the stores do not have
    /// all of them now.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn between(
        &self,
        group: GroupId,
        table: &EpochTable,
        held: Position,
        head: Position,
    ) -> Result<Option<Missed>> {
        let kept = || self.kept.get(&group)?.part(table.epoch(), held, head);
        if let Some(missed) = kept() {
            self.count(FROM_KEPT);
            return Ok(Some(missed));
        }
        let turn = self.turns.get(usize::from(group.partition().0));
        let _turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if let Some(missed) = kept() {
            self.count(FROM_KEPT);
            return Ok(Some(missed));
        }
        self.count(FROM_STORES);
        let piece = Arc::new(self.read(group, table, held, head).await?);
        let missed = piece.part(table.epoch(), held, head);
        if missed.is_some() {
            self.kept.insert(group, piece);
        }
        Ok(missed)
    }

    /// Reads up to `head`: on, where what is kept reaches from `held` or before.
    async fn read(
        &self,
        group: GroupId,
        table: &EpochTable,
        held: Position,
        head: Position,
    ) -> Result<Piece> {
        let begun = self.kept.get(&group).filter(|piece| {
            let reaches = (piece.after.seq..=piece.last.seq).contains(&held.seq);
            reaches && piece.epoch == table.epoch() && piece.text.len() < PIECE_BYTES_MAX
        });
        let mut piece = begun.map_or_else(
            || Piece::begin(held, table.epoch()),
            |piece| Piece::clone(&piece),
        );
        let mut known = table.clone();
        let count = usize::try_from(head.seq.saturating_sub(piece.last.seq)).unwrap_or(usize::MAX);
        let history = &self.history;
        let found = history.after(group, &mut known, piece.last, Some(head), count);
        piece.extend(&found.await?);
        piece.epoch = known.epoch();
        Ok(piece)
    }

    fn count(&self, from: &str) {
        self.metrics.resume_reads.with_label_values(&[from]).inc();
    }
}

impl Piece {
    fn begin(after: Position, epoch: Epoch) -> Self {
        Self {
            epoch,
            after,
            last: after,
            ..Self::default()
        }
    }

    fn extend(&mut self, entries: &[Entry]) {
        for entry in entries {
            if !self.text.is_empty() {
                self.text.push(b',');
            }
            entry.write_json(&mut self.text);
            self.ends.push(self.text.len());
            self.last = entry.pos;
        }
    }

    /// The events above `held` up to `head`, if they are all here and nothing is known of a newer
    /// epoch, or less.
    fn part(self: &Arc<Self>, epoch: Epoch, held: Position, head: Position) -> Option<Missed> {
        let index = |pos: Position| usize::try_from(pos.seq.checked_sub(self.after.seq)?).ok();
        let events = index(held)?..index(head)?;
        let is_here = self.epoch == epoch && events.end <= self.ends.len();
        is_here.then(|| Missed {
            piece: Arc::clone(self),
            events,
        })
    }

    /// The events with these indices, with commas between them.
    fn list(&self, events: Range<usize>) -> &[u8] {
        let end = |count: usize| self.ends.get(count.checked_sub(1)?).copied();
        let from = end(events.start).map_or(0, |end| end + 1);
        let upto = end(events.end).unwrap_or(0);
        self.text.get(from..upto).unwrap_or_default()
    }

    fn weight(&self) -> u32 {
        let bytes = self.text.len() + size_of_val(self.ends.as_slice()) + size_of::<Self>();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl Missed {
    /// How many bytes of events.
    pub fn bytes(&self) -> usize {
        self.piece.list(self.events.clone()).len()
    }

    /// The `events` frames.
    pub fn frames(&self, group: GroupId) -> impl Iterator<Item = Vec<u8>> + '_ {
        let starts = self.events.clone().step_by(FRAME_EVENTS);
        starts.map(move |start| {
            let end = self.events.end.min(start + FRAME_EVENTS);
            events_of(group, self.piece.list(start..end))
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::client_id::ClientId;
    use crate::model::digest::Digest;
    use crate::model::event::Kind;
    use crate::model::id::UserId;
    use crate::model::time::Time;

    const GROUP: GroupId = GroupId::from_bytes([2; 16]);

    fn entry(pos: Position) -> Entry {
        Entry {
            pos,
            kind: Kind::Message,
            sender: UserId::from_bytes([1; 16]),
            client_id: ClientId::random(),
            digest: Digest::of(b"what"),
            count: pos.seq,
            sender_count: 1,
            at: Time::from_millis(0),
            fixed: Bytes::from_static("{\"kind\":\"在吗\"}".as_bytes()),
        }
    }

    const fn at(seq: u64) -> Position {
        Position::new(2, seq)
    }

    /// Events 4 to 9.
    fn piece() -> Arc<Piece> {
        let mut piece = Piece::begin(at(3), 2);
        for seq in 4..=9 {
            piece.extend(&[entry(at(seq))]);
        }
        Arc::new(piece)
    }

    #[test]
    fn every_part_of_a_piece_is_a_list_of_its_events() {
        for held in 3..=9 {
            for head in held..=9 {
                let missed = piece().part(2, at(held), at(head)).unwrap();
                let list = missed.piece.list(missed.events.clone());
                let list: Vec<Value> =
                    serde_json::from_slice(&[b"[", list, b"]"].concat()).unwrap();
                let seqs: Vec<_> = list.iter().map(|event| event["pos"][1].clone()).collect();
                let expected: Vec<_> = (held + 1..=head).map(|seq| json!(seq)).collect();
                assert_eq!(seqs, expected);
                assert_eq!(missed.frames(GROUP).count(), usize::from(head > held));
            }
        }
    }

    #[test]
    fn what_is_not_all_there_or_of_another_epoch_is_no_part() {
        assert!(piece().part(2, at(2), at(9)).is_none());
        assert!(piece().part(2, at(3), at(10)).is_none());
        assert!(piece().part(3, at(3), at(9)).is_none());
        assert!(piece().part(1, at(3), at(9)).is_none());
    }
}
