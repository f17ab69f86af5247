//! Follows many streams without blocking on any: a stream that was read is tracked by Redis, the
//! next change rings once, and what rang is read again (dataflow.md, "One doorbell").
//!
//! State changes only after an answer is at hand and without an await in between, so `next` may
//! be dropped at any time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, RedisError, Value, cmd, pipe};
use tokio::time::Instant;

use super::bells::Bells;
use super::entry;
use super::fault::fault;
use super::keys;
use super::links::{HomeCall, Links};
use super::reply::{bytes, list, pairs, text};
use super::topology::home::Home;
use super::topology::shard::Lane;
use crate::model::event::Entry;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::log::{Head, Tail, Tailed};

/// Streams read by one command.
const STREAMS: usize = 256;
/// Entries read of one stream by one command, so that an answer holds at most 8,192.
const ENTRIES: usize = 32;
/// How often heads are compared, in case a ring was lost.
const SWEEP: Duration = Duration::from_secs(5);

/// A group, and the position after which it is read.
type Cursor = (GroupId, Position);

/// A tail over connections of its own.
pub(super) struct RedisTail {
    links: Arc<Links>,
    bells: Bells,
    watched: HashMap<GroupId, Watched>,
    /// Groups to read, oldest ring first. One that is no longer watched or due is skipped.
    due: VecDeque<GroupId>,
    /// Groups that are being read. They stay here until their entries are about to be returned.
    reading: Vec<GroupId>,
    sweep_at: Instant,
}

struct Watched {
    after: Position,
    /// Whether it waits in `due`.
    is_due: bool,
    /// Whether something said that there is news: if nothing can be read, the head is compared.
    is_rung: bool,
}

#[async_trait]
impl Tail for RedisTail {
    fn watch(&mut self, group: GroupId, after: Position) {
        let watched = Watched {
            after,
            is_due: false,
            is_rung: false,
        };
        self.watched.insert(group, watched);
        self.mark(group, false);
    }

    fn unwatch(&mut self, group: GroupId) {
        self.watched.remove(&group);
    }

    async fn next(&mut self) -> Result<Vec<Tailed>> {
        loop {
            self.bells.tend().await;
            self.hear();
            if let Some(error) = self.bells.deaf() {
                return Err(fault(error));
            }
            let news = self.look().await?;
            if !news.is_empty() {
                return Ok(news);
            }
        }
    }
}

impl RedisTail {
    pub(super) fn new(links: Arc<Links>) -> Self {
        let mut tracking = pipe();
        tracking.cmd("CLIENT").arg("TRACKING").arg("ON");
        Self {
            bells: Bells::new(Arc::clone(&links.topology), tracking),
            links,
            watched: HashMap::new(),
            due: VecDeque::new(),
            reading: Vec::new(),
            sweep_at: Instant::now() + SWEEP,
        }
    }

    /// Connects to every server.
    pub(super) async fn connect(&mut self) -> Result<()> {
        loop {
            self.bells.tend().await;
            if self.bells.hear_all() {
                return Ok(());
            }
            if let Some(error) = self.bells.failure() {
                return Err(fault(error));
            }
            self.bells.ring().await;
        }
    }

    /// Reads what is due, or compares heads when that is due, or waits until something is.
    async fn look(&mut self) -> Result<Vec<Tailed>> {
        let chunk = self.chunk();
        if !chunk.is_empty() {
            return self.read(&chunk).await;
        }
        if Instant::now() >= self.sweep_at {
            self.sweep().await?;
        } else {
            tokio::select! {
                () = self.bells.ring() => {}
                () = tokio::time::sleep_until(self.sweep_at) => {}
            }
        }
        Ok(Vec::new())
    }

    /// Notes what rang. Tracking is off after a reconnect: every cursor there is read again.
    fn hear(&mut self) {
        let heard = self.bells.heard();
        for group in heard.groups {
            self.mark(group, true);
        }
        self.mark_all(&heard.everything, true);
        self.mark_all(&heard.fresh, false);
    }

    fn mark(&mut self, group: GroupId, is_rung: bool) {
        let Some(watched) = self.watched.get_mut(&group) else {
            return;
        };
        watched.is_rung |= is_rung;
        if !watched.is_due {
            watched.is_due = true;
            self.due.push_back(group);
        }
    }

    /// Marks the groups of these seats.
    fn mark_all(&mut self, seats: &[usize], is_rung: bool) {
        if seats.is_empty() {
            return;
        }
        let groups = self.watched.keys().copied();
        let groups = groups.filter(|group| seats.contains(&self.bells.seat(*group)));
        for group in groups.collect::<Vec<_>>() {
            self.mark(group, is_rung);
        }
    }

    /// The groups to read next, with their cursors: those of an interrupted read first. Those whose
    /// server is not heard are marked again as soon as it is.
    fn chunk(&mut self) -> Vec<Cursor> {
        self.reading
            .retain(|group| self.watched.contains_key(group) && self.bells.hears(*group));
        if self.reading.is_empty() {
            self.refill();
        }
        let cursor = |group: &GroupId| self.watched.get(group).map(|w| (*group, w.after));
        by_partition(self.reading.iter().filter_map(cursor))
    }

    fn refill(&mut self) {
        while self.reading.len() < STREAMS
            && let Some(group) = self.due.pop_front()
        {
            let watched = self.watched.get_mut(&group);
            let is_due = watched.is_some_and(|watched| std::mem::take(&mut watched.is_due));
            if is_due && self.bells.hears(group) {
                self.reading.push(group);
            }
        }
    }

    async fn read(&mut self, chunk: &[Cursor]) -> Result<Vec<Tailed>> {
        let mut found = self.xread(chunk).await?;
        let silent: Vec<_> = chunk
            .iter()
            .filter(|(group, _)| !found.contains_key(group))
            .filter(|(group, _)| {
                self.watched
                    .get(group)
                    .is_some_and(|watched| watched.is_rung)
            })
            .copied()
            .collect();
        let above = self.heads_above(&silent).await?;
        let suspects: Vec<_> = silent
            .into_iter()
            .filter(|(group, _)| above.contains_key(group))
            .collect();
        // Read again after the head is known: only what is still silent has a gap.
        found.extend(self.xread(&suspects).await?);
        Ok(self.settle(chunk, found, &above))
    }

    async fn xread(&mut self, chunk: &[Cursor]) -> Result<HashMap<GroupId, Vec<Entry>>> {
        let mut found = HashMap::new();
        for answer in self.bells.ask(&self.xreads(chunk)).await {
            found.extend(streams(&answer)?);
        }
        Ok(found)
    }

    fn xreads(&self, chunk: &[Cursor]) -> Vec<HomeCall> {
        let pieces = self.pieces(chunk).into_iter();
        pieces.map(|(home, piece)| (home, xread(piece))).collect()
    }

    /// Cuts groups, which are by partition, into pieces that one command each may be about: as few
    /// as the servers allow.
    fn pieces<'a>(&self, groups: &'a [Cursor]) -> Vec<(Home, &'a [Cursor])> {
        let is_together = |(one, _): &Cursor, (other, _): &Cursor| {
            self.bells.joins_homes() || one.partition() == other.partition()
        };
        let pieces = groups.chunk_by(is_together);
        pieces
            .filter_map(|piece| Some((piece.first()?.0.into(), piece)))
            .collect()
    }

    /// Those of `groups` whose head is above the cursor. Where a server does not tell, all of its
    /// groups are read again later.
    async fn heads_above(&mut self, groups: &[Cursor]) -> Result<HashMap<GroupId, Head>> {
        let pieces = self.pieces(groups);
        let reads = pieces
            .iter()
            .map(|(home, piece)| (*home, read_heads(piece)));
        let reads: Vec<HomeCall> = reads.collect();
        let answers = self.links.each(Lane::Reads, &reads).await;
        let mut above = HashMap::new();
        for ((home, piece), answer) in pieces.iter().zip(answers) {
            match answer {
                Ok(heads) => {
                    let kept = piece.iter().zip(list(&heads)?);
                    above.extend(kept.filter_map(|(cursor, kept)| head_above(*cursor, kept)));
                }
                Err(error) => self.give_up(*home, &error),
            }
        }
        Ok(above)
    }

    /// Nothing is heard of the server of `home` until it answers again.
    fn give_up(&mut self, home: Home, error: &RedisError) {
        if self.bells.hears(home) {
            self.bells.hang_up(self.bells.seat(home), error);
        }
    }

    /// Moves cursors to what was found.
    fn settle(
        &mut self,
        chunk: &[Cursor],
        mut found: HashMap<GroupId, Vec<Entry>>,
        above: &HashMap<GroupId, Head>,
    ) -> Vec<Tailed> {
        self.reading.clear();
        let mut news = Vec::new();
        for (group, _) in chunk {
            let entries = found.remove(group).unwrap_or_default();
            let Some(watched) = self.watched.get_mut(group) else {
                continue;
            };
            watched.is_rung = false;
            if let Some(last) = entries.last() {
                watched.after = last.pos;
            }
            let head_above = above.get(group).copied().filter(|_| entries.is_empty());
            if entries.len() == ENTRIES {
                self.mark(*group, false);
            }
            if !entries.is_empty() || head_above.is_some() {
                news.push(Tailed {
                    group: *group,
                    entries,
                    head_above,
                });
            }
        }
        news
    }

    /// Marks the groups whose head is above the cursor, in case a ring was lost.
    async fn sweep(&mut self) -> Result<()> {
        let cursors = self.watched.iter().map(|(group, w)| (*group, w.after));
        let cursors = by_partition(cursors);
        let mut above = Vec::new();
        for chunk in cursors.chunks(STREAMS) {
            above.extend(self.heads_above(chunk).await?.into_keys());
        }
        above.into_iter().for_each(|group| self.mark(group, true));
        self.sweep_at = Instant::now() + SWEEP;
        Ok(())
    }
}

/// Groups of a home follow each other, so that few commands are about all of them.
fn by_partition(cursors: impl Iterator<Item = Cursor>) -> Vec<Cursor> {
    let mut cursors: Vec<_> = cursors.collect();
    cursors.sort_unstable_by_key(|(group, _)| group.partition());
    cursors
}

fn read_heads(groups: &[Cursor]) -> Cmd {
    let mut read = cmd("MGET");
    for (group, _) in groups {
        read.arg(keys::head(*group));
    }
    read
}

/// The head that is kept of a group, if it is above the cursor.
fn head_above((group, after): Cursor, kept: &Value) -> Option<(GroupId, Head)> {
    if matches!(kept, Value::Nil) {
        return None;
    }
    match text(kept).and_then(entry::head) {
        Ok(head) => (head.pos > after).then_some((group, head)),
        // It must hold up no other group.
        Err(error) => {
            tracing::error!(%group, %error, "a head cannot be read");
            None
        }
    }
}

fn xread(chunk: &[Cursor]) -> Cmd {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(ENTRIES).arg("STREAMS");
    for (group, _) in chunk {
        read.arg(keys::stream(*group));
    }
    for (_, after) in chunk {
        read.arg(after.to_string());
    }
    read
}

/// The entries of each stream in an answer to XREAD.
fn streams(answer: &Value) -> Result<HashMap<GroupId, Vec<Entry>>> {
    let mut found = HashMap::new();
    for (key, entries) in pairs(answer)? {
        if let Some(group) = keys::group_of_stream(bytes(key)?) {
            found.insert(group, entry::entries(group, entries)?);
        }
    }
    Ok(found)
}
