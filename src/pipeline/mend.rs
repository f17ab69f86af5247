//! Mends a group whose log is newer than the message store (epochs.md rule 11), as a part of opening
//! it: rows of the epoch table that the store lacks are added from the log's copy, and what the log
//! still has is stored again where it stands. Where neither has the next event any more, the new
//! epoch begins: from there on every event that is left stands at the same seq in the new epoch, and
//! a placeholder ([`Content::Lost`](crate::model::event::Content::Lost)) holds each place that is
//! lost, with totals as if what is lost was never said.
//!
//! In: a log that takes no appends of an older epoch any more. Out: where it goes on. All of it can
//! be done again, by anyone: the same finds the same.

use std::collections::HashMap;
use std::sync::Arc;

use super::consumers::unread::record;
use super::totals::own_totals;
use crate::model::epoch::{EpochTable, Row};
use crate::model::event::Entry;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Epoch, Position, Seq};
use crate::model::time::Time;
use crate::store::cards::Cards;
use crate::store::epochs::Epochs;
use crate::store::history::History;
use crate::store::log::Log;
use crate::store::messages::{Inserted, Messages};
use crate::store::sent::Sent;
use crate::store::unread::Unread;
use crate::store::{Result, StoreError};

/// Events read or written at a time.
const STEP: usize = 500;

/// How far below its newest event a message store is looked through for holes. It is written to in
/// batches of 1000, the next after the last is whole: a hole lies within the last one.
const DEPTH: Seq = 4096;

/// The stores that mending touches.
#[derive(Clone)]
pub struct Mender {
    /// What is newer.
    pub log: Arc<dyn Log>,
    /// What is older.
    pub messages: Arc<dyn Messages>,
    /// The tables, as old as the messages.
    pub epochs: Arc<dyn Epochs>,
    /// Reads all of them.
    pub history: History,
    /// What counts are made of, as old as the messages.
    pub unread: Arc<dyn Unread>,
    /// Who must hear of mentions.
    pub cards: Arc<dyn Cards>,
}

/// A mended group: everything up to `end` is stored.
pub(super) struct Mended {
    /// The table without the new row.
    pub(super) table: EpochTable,
    /// The last seq that was ever given.
    pub(super) end: Seq,
    /// What is lost, if anything.
    pub(super) cut: Option<Cut>,
}

/// A new epoch that begins below the end of the log.
pub(super) struct Cut {
    pub(super) row: Row,
    /// Messages up to the end.
    pub(super) count: u64,
    /// The time of the last event.
    pub(super) at: Time,
    /// The own total of everyone up to the end.
    pub(super) own: HashMap<UserId, u64>,
    /// How many events are nowhere any more.
    pub(super) lost: u64,
}

/// A group under mending.
struct Patient {
    group: GroupId,
    table: EpochTable,
    end: Seq,
}

/// Valid events above a position, and how far they were read.
struct Found {
    entries: Vec<Entry>,
    upto: Position,
}

impl Mender {
    /// Mends a group; `None` if somebody else works at its table: look again.
    ///
    /// # Errors
    /// A store does not answer: mend again.
    pub(super) async fn mend(
        &self,
        group: GroupId,
        epoch: Epoch,
        table: EpochTable,
        top: Option<Position>,
    ) -> Result<Option<Mended>> {
        let Some(table) = self.add_rows_again(group, table).await? else {
            return Ok(None);
        };
        let end = self.end(group, top).await?;
        let patient = Patient { group, table, end };
        let next = self.store_again(&patient).await?;
        let cut = match next > end {
            true => None,
            false => Some(self.cut(&patient, Row::from((epoch, next, 0))).await?),
        };
        let Patient { table, .. } = patient;
        Ok(Some(Mended { table, end, cut }))
    }

    /// Adds the rows that only the log's copy of the table has.
    async fn add_rows_again(
        &self,
        group: GroupId,
        table: EpochTable,
    ) -> Result<Option<EpochTable>> {
        let kept = self.log.tables(&[group]).await?.pop().flatten();
        let mut rows: Vec<Row> = table.rows().collect();
        for row in kept.unwrap_or_default().above(table.epoch()) {
            if !self
                .epochs
                .add_row(group, rows.last().copied(), row)
                .await?
            {
                return Ok(None);
            }
            rows.push(row);
        }
        Ok(Some(rows.into_iter().collect()))
    }

    /// The highest seq that the log ever gave or called stored, valid or not.
    async fn end(&self, group: GroupId, top: Option<Position>) -> Result<Seq> {
        let head = self.log.head(group).await?;
        let of_head = head.map_or(0, |head| head.pos.seq.max(head.stored.seq));
        Ok(of_head.max(top.map_or(0, |top| top.seq)))
    }

    /// Stores what the log has above what is stored without a hole, where it stands; answers the
    /// first seq that neither has.
    async fn store_again(&self, patient: &Patient) -> Result<Seq> {
        let mut from = self.ground(patient).await?;
        let mut next = from.seq + 1;
        while let Some(found) = self.above(patient, from).await? {
            let first = next;
            let dense = found.entries.iter().zip(first..);
            let dense = dense.take_while(|(entry, seq)| entry.pos.seq == *seq);
            let dense: Vec<Entry> = dense.map(|(entry, _)| entry.clone()).collect();
            next += dense.len() as u64;
            let has_hole = dense.len() < found.entries.len();
            self.keep(patient.group, &patient.table, dense).await?;
            if has_hole {
                break;
            }
            from = found.upto;
        }
        Ok(next)
    }

    /// A position up to which the message store has no hole.
    async fn ground(&self, patient: &Patient) -> Result<Position> {
        let (group, table) = (patient.group, &patient.table);
        let newest = self.messages.range_back(group, None, STEP).await?;
        let newest = newest.iter().rfind(|entry| table.is_valid(entry.pos));
        let floor = newest.and_then(|entry| entry.pos.seq.checked_sub(DEPTH));
        let floor = floor.filter(|seq| *seq > 0).and_then(|seq| table.at(seq));
        self.history
            .contiguous(group, table, floor.unwrap_or_default())
            .await
    }

    /// The next valid events above `from` that log or message store have, ascending; `None` if
    /// there are none.
    async fn above(&self, patient: &Patient, from: Position) -> Result<Option<Found>> {
        let stored = self.messages.range(patient.group, from, None, STEP).await?;
        let (live, skipped) = self.live_above(patient, from).await?;
        let is_cut_short = |part: &[Entry]| (part.len() == STEP).then(|| last(part)).flatten();
        let bounds = [is_cut_short(&stored), is_cut_short(&live), skipped];
        let newest = last(&stored).max(last(&live));
        let Some(upto) = bounds.into_iter().flatten().min().or(newest) else {
            return Ok(None);
        };
        let mut entries = [stored, live].concat();
        entries.retain(|entry| entry.pos <= upto && patient.table.is_valid(entry.pos));
        entries.sort_by_key(|entry| entry.pos);
        entries.dedup_by_key(|entry| entry.pos);
        Ok(Some(Found { entries, upto }))
    }

    /// What the log has above `from`; before one that cannot be read, one seq is skipped at a time.
    async fn live_above(
        &self,
        patient: &Patient,
        from: Position,
    ) -> Result<(Vec<Entry>, Option<Position>)> {
        for limit in [STEP, 1] {
            match self.log.range(patient.group, from, None, limit).await {
                Ok(live) if limit == STEP => return Ok((live, None)),
                Ok(live) => return Ok((live.clone(), last(&live))),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(group = %patient.group, %from, %error, "unreadable"),
            }
        }
        let seq = from.seq + 1;
        let next = patient.table.at(seq).map_or(from.epoch, |at| at.epoch);
        Ok((Vec::new(), Some(Position::new(next, seq))))
    }

    /// Begins the epoch of `row` at its start: what is left stands at the same seq in it.
    async fn cut(&self, patient: &Patient, mut row: Row) -> Result<Cut> {
        let group = patient.group;
        let mut table: EpochTable = patient.table.rows().chain([row]).collect();
        let bound = Position::new(row.epoch, row.start);
        let before = self.history.before(group, &mut table, Some(bound), 1);
        let before = before.await?;
        let before = before
            .first()
            .filter(|entry| entry.pos.seq + 1 == row.start);
        row.count = before.map_or(0, |entry| entry.count);
        let mut copy = Recount {
            group,
            epoch: row.epoch,
            next: row.start,
            count: row.count,
            at: before.map(|entry| entry.at).unwrap_or_default(),
            own: own_totals(&self.history, group, &mut table, row.start - 1, bound).await?,
            lost: 0,
        };
        let mut from = before.map(|entry| entry.pos).unwrap_or_default();
        while let Some(found) = self.above(patient, from).await? {
            let mut moved = Vec::with_capacity(found.entries.len());
            for entry in found.entries {
                self.fill(&mut copy, &table, entry.pos.seq).await?;
                moved.push(copy.moved(entry));
            }
            self.keep(group, &table, moved).await?;
            from = found.upto;
        }
        self.fill(&mut copy, &table, patient.end + 1).await?;
        let Recount {
            count,
            at,
            own,
            lost,
            ..
        } = copy;
        Ok(Cut {
            row,
            count,
            at,
            own,
            lost,
        })
    }

    /// Puts placeholders up to `upto`, not included.
    async fn fill(&self, copy: &mut Recount, table: &EpochTable, upto: Seq) -> Result<()> {
        while copy.next < upto {
            let few = (copy.next..upto).take(STEP);
            let lost: Vec<Entry> = few.map(|_| copy.lost()).collect();
            self.keep(copy.group, table, lost).await?;
        }
        Ok(())
    }

    /// Stores events, and records what counts are made of: all below them is stored, so that the
    /// store knows the own totals there. The log may call more stored than is.
    async fn keep(&self, group: GroupId, table: &EpochTable, entries: Vec<Entry>) -> Result<()> {
        let batch: Vec<_> = entries.into_iter().map(|entry| (group, entry)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let kept = self.messages.insert(&batch).await?;
        let clash = batch.iter().zip(kept);
        for ((_, entry), _) in clash.filter(|(_, kept)| *kept == Inserted::Different) {
            tracing::error!(%group, pos = %entry.pos, "another event stands there, and stays");
        }
        let own_at = |sender, group, pos| async move {
            let messages = &*self.messages;
            let sent = Sent {
                messages,
                group,
                table,
                sender,
            };
            sent.total(pos).await
        };
        match record(&*self.unread, &*self.cards, &batch, own_at).await {
            Err(StoreError::Corrupt { .. }) => Ok(()),
            recorded => recorded,
        }
    }
}

/// The events of a new epoch while they are counted anew.
struct Recount {
    group: GroupId,
    epoch: Epoch,
    next: Seq,
    count: u64,
    at: Time,
    own: HashMap<UserId, u64>,
    lost: u64,
}

impl Recount {
    fn take_place(&mut self) -> Position {
        let pos = Position::new(self.epoch, self.next);
        self.next += 1;
        pos
    }

    /// An event that is left, at the next place.
    fn moved(&mut self, entry: Entry) -> Entry {
        let counts = u64::from(entry.kind.is_counted());
        let own = self.own.entry(entry.sender).or_default();
        *own += counts;
        let sender_count = *own;
        self.count += counts;
        self.at = entry.at;
        Entry {
            pos: self.take_place(),
            count: self.count,
            sender_count,
            ..entry
        }
    }

    /// What stands in the next place, where nothing is left. Its time is that of the event before
    /// it, so that everyone puts the same.
    fn lost(&mut self) -> Entry {
        self.lost += 1;
        let (group, count, at) = (self.group, self.count, self.at);
        Entry::lost(group, self.take_place(), count, at)
    }
}

fn last(entries: &[Entry]) -> Option<Position> {
    entries.last().map(|entry| entry.pos)
}
