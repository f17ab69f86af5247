//! Consumers of the logs as Redis consumer groups: [`ConsumerLog`] over [`Work`] and the leases
//! that the [`super::keeper`] holds.
//!
//! The name under which this process takes is new at each boot, so that no two processes ever
//! share pending entries.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use redis::{Cmd, RedisResult, Value, cmd};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::entry;
use super::fault::fault;
use super::keys;
use super::leases::{Digits, beat, lease};
use super::library::Function;
use super::links::Links;
use super::reply::{at, list, pairs, position};
use super::topology::home::Home;
use super::topology::shard::Lane;
use super::work::{Next, Step, Work};
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::consumers::{Consumer, ConsumerLog, Delivery, Unreadable};
use crate::store::{Result, StoreError};

/// Streams read or claimed in one write: some 4 ms of a Redis that has nothing else to do.
const STREAMS: usize = 256;

/// Where the work of both consumers lies, filled by the keeper.
#[derive(Debug, Default)]
pub(super) struct Desk {
    persist: Tray,
    unread: Tray,
    /// Cancelled when this process gave its leases up for good.
    pub(super) resigned: CancellationToken,
}

#[derive(Debug, Default)]
struct Tray {
    work: Mutex<Work>,
    /// Rings when there may be something to take.
    filled: Notify,
    /// One take at a time.
    taking: tokio::sync::Mutex<()>,
}

impl Desk {
    const fn tray(&self, consumer: Consumer) -> &Tray {
        match consumer {
            Consumer::Persist => &self.persist,
            Consumer::Unread => &self.unread,
        }
    }

    /// The digits that every consumer has begun with.
    pub(super) fn known(&self) -> Digits {
        self.persist.work().held().both(self.unread.work().held())
    }

    /// Changes the work of every consumer alike, and wakes whoever waits for some.
    pub(super) fn change(&self, change: impl Fn(&mut Work)) {
        for consumer in Consumer::ALL {
            let tray = self.tray(*consumer);
            change(&mut tray.work());
            tray.filled.notify_one();
        }
    }
}

impl Tray {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, max: usize, claims: bool) -> Plan<'_> {
        let steps = self.work().plan(max.min(STREAMS), Instant::now(), claims);
        Plan { tray: self, steps }
    }

    /// Waits until there may be something to take, unless something is due.
    async fn wait(&self) {
        let is_due = self.work().is_due(Instant::now());
        if !is_due {
            self.filled.notified().await;
        }
    }

    fn take_lost(&self, max: usize) -> Vec<Delivery> {
        let mut work = self.work();
        let count = work.lost.len().min(max);
        work.lost.drain(..count).collect()
    }
}

/// Steps that are being done. Those that are still here when it is dropped were interrupted.
struct Plan<'a> {
    tray: &'a Tray,
    steps: Vec<Step>,
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        let mut work = self.tray.work();
        self.steps.drain(..).for_each(|step| work.interrupted(step));
    }
}

/// The consumers of one Redis, as this process sees them.
#[derive(Debug)]
pub(super) struct RedisConsumers {
    links: Arc<Links>,
    desk: Arc<Desk>,
    /// The name of this process, new at each boot.
    me: String,
    /// After how long without an event a group counts as idle.
    idle_ms: u64,
}

#[async_trait]
impl ConsumerLog for RedisConsumers {
    async fn take(&self, consumer: Consumer, max: usize) -> Result<Vec<Delivery>> {
        let tray = self.desk.tray(consumer);
        let _taking = tray.taking.lock().await;
        self.take_some(tray, consumer, max.max(1)).await
    }

    async fn ack(&self, consumer: Consumer, done: &[(GroupId, Position)]) -> Result<()> {
        let mut sorted = done.to_vec();
        sorted.sort_unstable();
        let of_groups: Vec<(GroupId, Vec<Position>)> = sorted
            .chunk_by(|(one, _), (other, _)| one == other)
            .filter_map(|of_group| {
                let positions = of_group.iter().map(|(_, pos)| *pos).collect();
                of_group.first().map(|(group, _)| (*group, positions))
            })
            .collect();
        let calls: Vec<_> = of_groups
            .iter()
            .map(|(group, done)| ((*group).into(), self.ack_call(consumer, *group, done)))
            .collect();
        let answers = self.links.each(Lane::Consumers, &calls).await;
        let mut failures = Vec::new();
        let mut work = self.desk.tray(consumer).work();
        for ((group, positions), answer) in of_groups.iter().zip(answers) {
            match answer {
                Ok(_) => work.acknowledged(*group, positions),
                Err(error) => failures.push(fault(error)),
            }
        }
        drop(work);
        first(failures)
    }

    async fn release(&self, consumer: Consumer) {
        let tray = self.desk.tray(consumer);
        tray.work().release();
        tray.filled.notify_one();
    }

    async fn resign(&self) {
        self.desk.resigned.cancel();
        if let Err(error) = self.give_leases_up().await {
            tracing::debug!(error = ?error, "leases run out instead of being given up");
        }
    }
}

impl RedisConsumers {
    pub(super) const fn new(links: Arc<Links>, desk: Arc<Desk>, me: String, idle_ms: u64) -> Self {
        Self {
            links,
            desk,
            me,
            idle_ms,
        }
    }

    async fn take_some(
        &self,
        tray: &Tray,
        consumer: Consumer,
        max: usize,
    ) -> Result<Vec<Delivery>> {
        loop {
            let mut failures = self.correct_list(tray, consumer).await;
            failures.extend(self.claim(tray, consumer).await);
            let lost = tray.take_lost(max);
            if !lost.is_empty() {
                return Ok(lost);
            }
            let plan = tray.plan(max, false);
            let taken = self.read(plan, consumer, max, &mut failures).await;
            if !taken.is_empty() {
                return Ok(taken);
            }
            first(failures)?;
            tray.wait().await;
        }
    }

    /// Takes streams over from whoever had them before. Answers why that failed for some.
    async fn claim(&self, tray: &Tray, consumer: Consumer) -> Vec<StoreError> {
        let mut plan = tray.plan(STREAMS, true);
        let steps = plan.steps.iter();
        let calls: Vec<_> = steps
            .map(|step| (step.group.into(), self.claim_call(consumer, step)))
            .collect();
        let answers = self.links.each(Lane::Consumers, &calls).await;
        let mut failures = Vec::new();
        let mut work = tray.work();
        for (step, answer) in plan.steps.drain(..).zip(answers) {
            match answer
                .map_err(fault)
                .and_then(|answer| lost(&step, &answer))
            {
                Ok(lost) => {
                    work.claimed(step, lost.is_some());
                    work.lost.extend(lost.into_iter().flatten());
                }
                Err(error) => {
                    work.interrupted(step);
                    failures.push(error);
                }
            }
        }
        failures
    }

    /// Reads what is planned, and notes why that failed for some. Nothing is awaited after the
    /// answers: they are returned, or the plan is interrupted.
    async fn read(
        &self,
        mut plan: Plan<'_>,
        consumer: Consumer,
        max: usize,
        failures: &mut Vec<StoreError>,
    ) -> Vec<Delivery> {
        let count = (max / plan.steps.len().max(1)).max(1);
        let steps = plan.steps.iter();
        let reads: Vec<_> = steps
            .map(|step| (step.group.into(), self.read_call(consumer, step, count)))
            .collect();
        let answers = self.links.each(Lane::Consumers, &reads).await;
        let mut work = plan.tray.work();
        let mut taken = Vec::new();
        for (step, answer) in plan.steps.drain(..).zip(answers) {
            match found(&step, answer) {
                Ok(Some(found)) => {
                    let positions: Vec<_> = found.iter().map(|delivery| delivery.pos).collect();
                    if work.done(step, &positions, found.len() >= count) {
                        taken.extend(found);
                    }
                }
                Ok(None) => work.unknown(step),
                Err(error) => {
                    work.interrupted(step);
                    failures.push(error);
                }
            }
        }
        taken
    }

    /// Takes streams off the durable list that are there for nothing. Those for which that
    /// failed are found on it again.
    async fn correct_list(&self, tray: &Tray, consumer: Consumer) -> Vec<StoreError> {
        let listed = std::mem::take(&mut tray.work().listed_for_nothing);
        let calls: Vec<_> = listed
            .into_iter()
            .map(|group| (group.into(), self.ack_call(consumer, group, &[])))
            .collect();
        let answers = self.links.each(Lane::Consumers, &calls).await;
        let failures = answers.into_iter().filter_map(std::result::Result::err);
        failures.map(fault).collect()
    }

    fn claim_call(&self, consumer: Consumer, step: &Step) -> Cmd {
        let streams = [
            keys::stream(step.group),
            keys::dirty(step.group.partition()),
        ];
        let mut call = self.links.library.call(Function::Claim, &streams);
        call.arg(consumer.name())
            .arg(&self.me)
            .arg(step.group.to_string());
        call
    }

    fn read_call(&self, consumer: Consumer, step: &Step, count: usize) -> Cmd {
        let from = match step.next {
            Next::Pending(pos) => pos.to_string(),
            Next::New | Next::Claim => ">".to_owned(),
        };
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(consumer.name())
            .arg(&self.me)
            .arg("COUNT")
            .arg(count);
        read.arg("STREAMS").arg(keys::stream(step.group)).arg(from);
        read
    }

    fn ack_call(&self, consumer: Consumer, group: GroupId, done: &[Position]) -> Cmd {
        let partition = group.partition();
        let keys = [
            keys::stream(group),
            keys::dirty(partition),
            keys::head(group),
            keys::idle(partition),
            keys::witness(partition),
        ];
        let mut call = self.links.library.call(Function::Ack, &keys);
        call.arg(consumer.name())
            .arg(Consumer::ALL.len())
            .arg(group.to_string())
            .arg(self.idle_ms);
        for pos in done {
            call.arg(pos.to_string());
        }
        call
    }

    async fn give_leases_up(&self) -> Result<()> {
        let library = &self.links.library;
        let beat = beat(library, &self.me, 0);
        let lease = lease(library, &self.me, 0, Digits::NONE);
        let calls = [(Home::Leases, beat), (Home::Leases, lease)];
        self.links.all(Lane::Consumers, &calls).await?;
        Ok(())
    }
}

fn first(failures: Vec<StoreError>) -> Result<()> {
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// What a claim found to be gone; `None` if the stream is.
fn lost(step: &Step, answer: &Value) -> Result<Option<Vec<Delivery>>> {
    if *answer == Value::Nil {
        return Ok(None);
    }
    let lost = list(answer)?
        .iter()
        .map(|pos| Ok(deleted(step.group, position(pos)?)));
    lost.collect::<Result<_>>().map(Some)
}

/// The deliveries in an answer to XREADGROUP; `None` if the stream or the consumer's place in it
/// is not there.
fn found(step: &Step, answer: RedisResult<Value>) -> Result<Option<Vec<Delivery>>> {
    let answer = match answer {
        Err(error) if error.code() == Some("NOGROUP") => return Ok(None),
        answer => answer.map_err(fault)?,
    };
    let streams = pairs(&answer)?.iter().map(|(_, entries)| list(entries));
    let items = streams.collect::<Result<Vec<_>>>()?.into_iter().flatten();
    items
        .map(|item| delivery(step.group, list(item)?))
        .collect::<Result<_>>()
        .map(Some)
}

fn delivery(group: GroupId, item: &[Value]) -> Result<Delivery> {
    let (id, fields) = (at(item, 0)?, at(item, 1)?);
    let pos = position(id)?;
    if *fields == Value::Nil {
        return Ok(deleted(group, pos));
    }
    let entry = entry::entry(id, fields).map_err(|error| Unreadable {
        reason: error.to_string(),
        payload: entry::remains(pos, fields),
    });
    Ok(Delivery {
        group,
        pos,
        entry,
        trace: entry::trace(fields),
    })
}

/// What is delivered for an entry that was trimmed or deleted before it was handled: a loss.
fn deleted(group: GroupId, pos: Position) -> Delivery {
    tracing::error!(%group, %pos, "an entry was deleted before it was handled: it is lost");
    Delivery {
        group,
        pos,
        entry: Err(Unreadable {
            reason: "it was deleted from the log".to_owned(),
            payload: Vec::new(),
        }),
        trace: None,
    }
}
