//! Follows many streams without blocking on any: a stream that was read is tracked by Redis, the
//! next change rings once, and what rang is read again (dataflow.md, "One doorbell").
//!
//! State changes only after an answer is at hand and without an await in between, so `next` may
//! be dropped at any time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::dial::Backoff;
use super::entry;
use super::fault::fault;
use super::keys;
use super::links::Links;
use super::log::heads;
use super::reply::{bytes, pairs};
use super::rings::Bell;
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

/// A tail over a connection of its own.
pub(super) struct RedisTail {
    links: Arc<Links>,
    bell: Option<Bell>,
    backoff: Backoff,
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
            self.connect().await?;
            if !self.hear() {
                continue;
            }
            let news = self.look().await.map_err(|error| self.give_up(error))?;
            if !news.is_empty() {
                return Ok(news);
            }
        }
    }
}

impl RedisTail {
    pub(super) fn new(links: Arc<Links>) -> Self {
        Self {
            links,
            bell: None,
            backoff: Backoff::default(),
            watched: HashMap::new(),
            due: VecDeque::new(),
            reading: Vec::new(),
            sweep_at: Instant::now() + SWEEP,
        }
    }

    /// Connects and switches tracking on, unless that is done. Tracking is off after a
    /// reconnect: every cursor is read again.
    pub(super) async fn connect(&mut self) -> Result<()> {
        if self.bell.is_some() {
            return Ok(());
        }
        self.backoff.pause().await;
        match tracked(&self.links).await {
            Ok(bell) => {
                self.backoff.succeed();
                self.bell = Some(bell);
                self.mark_all(false);
                Ok(())
            }
            Err(error) => {
                self.backoff.fail();
                Err(error)
            }
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
            self.wait().await;
        }
        Ok(Vec::new())
    }

    fn give_up(&mut self, error: crate::store::StoreError) -> crate::store::StoreError {
        if error.is_transient() {
            self.bell = None;
            self.backoff.fail();
        }
        error
    }

    /// Notes what rang; `false` if the connection ended.
    fn hear(&mut self) -> bool {
        let Some(rung) = self.bell.as_ref().map(Bell::rung) else {
            return false;
        };
        for group in rung.groups {
            self.mark(group, true);
        }
        if rung.everything {
            self.mark_all(true);
        }
        if rung.is_over {
            self.bell = None;
        }
        !rung.is_over
    }

    async fn wait(&self) {
        let Some(bell) = &self.bell else { return };
        tokio::select! {
            () = bell.ring() => {}
            () = tokio::time::sleep_until(self.sweep_at) => {}
        }
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

    fn mark_all(&mut self, is_rung: bool) {
        let groups: Vec<_> = self.watched.keys().copied().collect();
        groups
            .into_iter()
            .for_each(|group| self.mark(group, is_rung));
    }

    /// The groups to read next, with their cursors: those of an interrupted read first.
    fn chunk(&mut self) -> Vec<(GroupId, Position)> {
        self.reading
            .retain(|group| self.watched.contains_key(group));
        if self.reading.is_empty() {
            self.refill();
        }
        let cursor = |group: &GroupId| self.watched.get(group).map(|w| (*group, w.after));
        self.reading.iter().filter_map(cursor).collect()
    }

    fn refill(&mut self) {
        while self.reading.len() < STREAMS
            && let Some(group) = self.due.pop_front()
        {
            let watched = self.watched.get_mut(&group);
            if watched.is_some_and(|watched| std::mem::take(&mut watched.is_due)) {
                self.reading.push(group);
            }
        }
    }

    async fn read(&mut self, chunk: &[(GroupId, Position)]) -> Result<Vec<Tailed>> {
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

    async fn xread(&self, chunk: &[(GroupId, Position)]) -> Result<HashMap<GroupId, Vec<Entry>>> {
        let Some(bell) = self.bell.as_ref().filter(|_| !chunk.is_empty()) else {
            return Ok(HashMap::new());
        };
        let mut connection = bell.connection.clone();
        let answer = connection.send_packed_command(&xread(chunk)).await;
        streams(&answer.and_then(Value::extract_error).map_err(fault)?)
    }

    /// Those of `groups` whose head is above the cursor.
    async fn heads_above(&self, groups: &[(GroupId, Position)]) -> Result<HashMap<GroupId, Head>> {
        let ids: Vec<_> = groups.iter().map(|(group, _)| *group).collect();
        let heads = heads(&self.links, &ids, None).await?;
        let above = groups
            .iter()
            .zip(heads)
            .filter_map(|((group, after), head)| {
                head.map(|(head, _)| (*group, head))
                    .filter(|(_, head)| head.pos > *after)
            });
        Ok(above.collect())
    }

    /// Moves cursors to what was found.
    fn settle(
        &mut self,
        chunk: &[(GroupId, Position)],
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
        let cursors: Vec<_> = self
            .watched
            .iter()
            .map(|(group, w)| (*group, w.after))
            .collect();
        let mut above = Vec::new();
        for chunk in cursors.chunks(STREAMS) {
            above.extend(self.heads_above(chunk).await?.into_keys());
        }
        above.into_iter().for_each(|group| self.mark(group, true));
        self.sweep_at = Instant::now() + SWEEP;
        Ok(())
    }
}

async fn tracked(links: &Links) -> Result<Bell> {
    let mut bell = Bell::connect(&links.dial).await.map_err(fault)?;
    let mut tracking = cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON");
    let answer = bell.connection.send_packed_command(&tracking).await;
    answer.and_then(Value::extract_error).map_err(fault)?;
    Ok(bell)
}

fn xread(chunk: &[(GroupId, Position)]) -> Cmd {
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
            found.insert(group, entry::entries(entries)?);
        }
    }
    Ok(found)
}
