//! One read path for the log of a group: the live end from [`Log`], everything below it from
//! [`Messages`], and of both only what is valid by the epoch table (epochs.md rule 6).
//!
//! The answer never holds a hole: where the live log was trimmed the store fills in, and where
//! neither has the next event yet the answer ends before it.

use std::collections::HashMap;
use std::sync::Arc;

use super::Result;
use super::epochs::Epochs;
use super::log::{Head, Log};
use super::messages::Messages;
use crate::model::epoch::{EpochTable, Span};
use crate::model::event::Entry;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Epoch, Position, Seq};

/// Reads the valid events of groups.
#[derive(Clone)]
pub struct History {
    log: Arc<dyn Log>,
    messages: Arc<dyn Messages>,
    epochs: Arc<dyn Epochs>,
}

/// How many entries one step reads from a store at most.
const STEP: usize = 256;

/// How many events a store sums up at once: a few tenths of a second of its work.
const SUMS_MAX: u64 = 50_000;

impl History {
    /// A reader over these stores.
    pub fn new(log: Arc<dyn Log>, messages: Arc<dyn Messages>, epochs: Arc<dyn Epochs>) -> Self {
        Self {
            log,
            messages,
            epochs,
        }
    }

    /// The epoch table of a group, read now.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn table(&self, group: GroupId) -> Result<EpochTable> {
        let mut tables = self.epochs.tables(&[group]).await?;
        Ok(tables.pop().unwrap_or_default())
    }

    /// The epoch tables of groups whose heads were read before, in their order: no older than the
    /// heads. A live log that keeps its table is asked first.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn tables(&self, groups: &[GroupId], heads: &[Head]) -> Result<Vec<EpochTable>> {
        let kept = self.log.tables(groups).await?;
        let knows = |table: &EpochTable, head: &Head| table.epoch() >= head.pos.epoch.max(1);
        let kept: Vec<_> = kept
            .into_iter()
            .zip(heads)
            .map(|(table, head)| table.filter(|table| knows(table, head)))
            .collect();
        let lacking = groups.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
        let lacking: Vec<GroupId> = lacking.map(|(group, _)| *group).collect();
        let asked = match lacking.is_empty() {
            true => Vec::new(),
            false => self.epochs.tables(&lacking).await?,
        };
        let mut asked = asked.into_iter();
        let tables = kept.into_iter().map(|kept| kept.or_else(|| asked.next()));
        Ok(tables.map(Option::unwrap_or_default).collect())
    }

    /// The epoch table of a group, no older than the epoch `known`: of a head that was read before, or of
    /// what somebody names. Where the live log keeps its table, as it nearly always does, the message
    /// store is not asked.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn table_at(&self, group: GroupId, known: Epoch) -> Result<EpochTable> {
        let kept = self.log.tables(&[group]).await?.pop().flatten();
        match kept.filter(|table| table.epoch() >= known.max(1)) {
            Some(table) => Ok(table),
            None => self.table(group).await,
        }
    }

    /// Up to `limit` valid events above `after`, up to `upto` if given, ascending and dense from
    /// `after.seq + 1`. `table` is replaced by a newer one if an entry needs it.
    ///
    /// # Errors
    /// A store does not answer or holds something unreadable.
    pub async fn after(
        &self,
        group: GroupId,
        table: &mut EpochTable,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut found = Run::above(after.seq);
        while found.entries.len() < limit {
            let from = found.last().unwrap_or(after);
            let had = found.entries.len();
            let asked = (limit - had).min(STEP);
            let live = self.log.range(group, from, upto, asked).await?;
            self.refresh(group, table, &live).await?;
            // A live log begins above what was trimmed, and has a gap where one that came back with
            // less was opened behind what is stored.
            if !found.is_continued_by(&live, table) {
                self.fill(group, table, &mut found, from, upto, limit)
                    .await?;
            }
            // Fewer than asked for means that the live log has no more.
            let is_last = live.len() < asked;
            let is_taken_whole = found.extend(live, table, limit);
            if found.entries.len() == had || (is_last && is_taken_whole) {
                break;
            }
        }
        Ok(found.entries)
    }

    /// Reads the store below the live log until it has no next event.
    async fn fill(
        &self,
        group: GroupId,
        table: &mut EpochTable,
        found: &mut Run,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<()> {
        let mut from = after;
        while found.entries.len() < limit {
            let asked = (limit - found.entries.len()).min(STEP);
            let stored = self.messages.range(group, from, upto, asked).await?;
            let is_last = stored.len() < asked;
            from = stored.last().map_or(from, |entry| entry.pos);
            self.refresh(group, table, &stored).await?;
            found.extend(stored, table, limit);
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// The newest `limit` valid events below `before`, ascending and dense.
    ///
    /// # Errors
    /// A store does not answer or holds something unreadable.
    pub async fn before(
        &self,
        group: GroupId,
        table: &mut EpochTable,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut found = BackRun {
            entries: Vec::new(),
            next: before.map(|pos| pos.seq),
        };
        let mut bound = before;
        while found.entries.len() < limit && found.next != Some(1) {
            let asked = (limit - found.entries.len()).min(STEP);
            let live = self.log.range_back(group, bound, asked).await?;
            let Some(first) = live.first().map(|entry| entry.pos) else {
                break;
            };
            self.refresh(group, table, &live).await?;
            if !found.extend(live, table, limit) {
                break;
            }
            bound = Some(first);
        }
        bound = found.entries.last().map(|entry| entry.pos).or(before);
        while found.entries.len() < limit && found.next != Some(1) {
            let asked = (limit - found.entries.len()).min(STEP);
            let stored = self.messages.range_back(group, bound, asked).await?;
            let Some(first) = stored.first().map(|entry| entry.pos) else {
                break;
            };
            self.refresh(group, table, &stored).await?;
            found.extend(stored, table, limit);
            bound = Some(first);
        }
        found.entries.reverse();
        Ok(found.entries)
    }

    /// Makes `table` know every epoch of `entries`: it is read anew for one above those it knows.
    async fn refresh(
        &self,
        group: GroupId,
        table: &mut EpochTable,
        entries: &[Entry],
    ) -> Result<()> {
        if entries.iter().any(|entry| entry.pos.epoch > table.epoch()) {
            *table = self.table(group).await?;
        }
        Ok(())
    }

    /// The event at a position, if it is valid and can be read.
    ///
    /// # Errors
    /// A store does not answer or holds something unreadable.
    pub async fn at(&self, group: GroupId, pos: Position) -> Result<Option<Entry>> {
        let Some(below) = pos.seq.checked_sub(1) else {
            return Ok(None);
        };
        let after = Position::new(pos.epoch, below);
        let live = self.log.range(group, after, Some(pos), 1).await?;
        let found = match live.into_iter().next() {
            Some(entry) => Some(entry),
            None => self
                .messages
                .range(group, after, Some(pos), 1)
                .await?
                .into_iter()
                .next(),
        };
        let table = self.table(group).await?;
        Ok(found.filter(|entry| entry.pos == pos && table.is_valid(pos)))
    }

    /// Whether what was accepted at `pos` is stored when the watermark is at `stored`: a later epoch kept
    /// it or cut it off (protocol.md, "Receipts").
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn is_settled(
        &self,
        group: GroupId,
        pos: Position,
        stored: Position,
    ) -> Result<bool> {
        match stored.epoch == pos.epoch {
            true => Ok(stored >= pos),
            false => Ok(stored >= pos && self.table(group).await?.is_valid(pos)),
        }
    }

    /// The own total of everyone whose counted events are stored at valid positions up to the seq
    /// `upto`, counted by the store itself.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn stored_totals(
        &self,
        group: GroupId,
        table: &EpochTable,
        upto: Seq,
    ) -> Result<HashMap<UserId, u64>> {
        let mut totals = HashMap::new();
        for span in chunks(table, 1, upto) {
            totals.extend(self.messages.sums(group, span).await?.own);
        }
        Ok(totals)
    }

    /// The highest position up to which the store holds every valid event, looking from `floor`,
    /// which is known to be one (epochs.md rules 4b and 5).
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn contiguous(
        &self,
        group: GroupId,
        table: &EpochTable,
        floor: Position,
    ) -> Result<Position> {
        let mut reached = floor;
        let mut from = floor;
        loop {
            let step = self.messages.positions(group, from, STEP * 4).await?;
            let is_last = step.len() < STEP * 4;
            let last = step.last().copied().unwrap_or(from);
            for pos in step.into_iter().filter(|pos| table.is_valid(*pos)) {
                if pos.seq > reached.seq + 1 {
                    return Ok(reached);
                }
                reached = reached.max(pos);
            }
            if is_last {
                return Ok(reached);
            }
            if from == floor {
                reached = self.pass_dense(group, table, reached).await?;
            }
            from = last.max(reached);
        }
    }

    /// How far the events above `reached` are known to be dense from how many they are; `reached`
    /// itself if they are not.
    async fn pass_dense(
        &self,
        group: GroupId,
        table: &EpochTable,
        mut reached: Position,
    ) -> Result<Position> {
        let newest = self.messages.range_back(group, None, 1).await?;
        let newest = newest.first().map_or(0, |entry| entry.pos.seq);
        for span in chunks(table, reached.seq + 1, newest) {
            if self.messages.sums(group, span).await?.events < span.count() {
                break;
            }
            reached = Position::new(span.epoch, span.last);
        }
        Ok(reached)
    }
}

/// The valid positions of some seqs, in spans that a store can sum up at once.
fn chunks(table: &EpochTable, first: Seq, last: Seq) -> impl Iterator<Item = Span> + '_ {
    let spans = table.spans(first, last);
    spans.flat_map(|span| span.chunks(SUMS_MAX))
}

/// Valid entries collected upwards without a hole.
struct Run {
    entries: Vec<Entry>,
    below: Seq,
}

impl Run {
    const fn above(below: Seq) -> Self {
        Self {
            entries: Vec::new(),
            below,
        }
    }

    fn last(&self) -> Option<Position> {
        self.entries.last().map(|entry| entry.pos)
    }

    fn next(&self) -> Seq {
        self.last().map_or(self.below, |pos| pos.seq) + 1
    }

    /// Whether the first valid one of `more` is the next.
    fn is_continued_by(&self, more: &[Entry], table: &EpochTable) -> bool {
        let first = more.iter().find(|entry| table.is_valid(entry.pos));
        first.is_some_and(|entry| entry.pos.seq == self.next())
    }

    /// Takes what continues the run, up to `limit` in all; answers whether nothing valid above it
    /// was left out.
    fn extend(&mut self, more: Vec<Entry>, table: &EpochTable, limit: usize) -> bool {
        let mut is_taken_whole = true;
        for entry in more.into_iter().filter(|entry| table.is_valid(entry.pos)) {
            let next = self.next();
            if self.entries.len() < limit && entry.pos.seq == next {
                self.entries.push(entry);
            } else {
                is_taken_whole &= entry.pos.seq < next;
            }
        }
        is_taken_whole
    }
}

/// Valid entries collected downwards without a hole, newest first.
struct BackRun {
    entries: Vec<Entry>,
    next: Option<Seq>,
}

impl BackRun {
    fn extend(&mut self, more: Vec<Entry>, table: &EpochTable, limit: usize) -> bool {
        let had = self.entries.len();
        for entry in more.into_iter().rev() {
            let continues = self.next.is_none_or(|next| entry.pos.seq + 1 == next);
            if self.entries.len() < limit && continues && table.is_valid(entry.pos) {
                self.next = Some(entry.pos.seq);
                self.entries.push(entry);
            }
        }
        self.entries.len() > had
    }
}
