//! Appends one event to its group's log, whatever the log answers on the way: raises the fence,
//! re-opens the log, asks the message store about a forgotten `client_id` (epochs.md rules 1-4
//! and 9). Every command that writes goes through here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::fences::Fences;
use super::reopen::Reopener;
use super::unsettled::Unsettled;
use crate::error::{Busy, Error, Result};
use crate::model::event::{Draft, Entry};
use crate::model::position::{Epoch, Position};
use crate::model::trace::Trace;
use crate::protocol::code::ErrorCode;
use crate::store::StoreError;
use crate::store::epochs::Fence;
use crate::store::history::History;
use crate::store::log::{Append, Log, OnMiss, Outcome, Receipt};
use crate::store::messages::Messages;
use crate::telemetry::{Metrics, show_zero};
use crate::traces::{Kind, Traces};

/// How long one append may take in all, retries and an opening of the log included.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the log itself may be silent, retries included: then the sender is told.
const LOG_PATIENCE: Duration = Duration::from_millis(800);

/// The pause after the first failed try; doubled up to eight times as long.
const PAUSE: Duration = Duration::from_millis(20);

/// After a failed call others are answered `busy` for this long without being tried.
const REST: Duration = Duration::from_millis(250);

/// What a client is told to wait when the log does not answer, in milliseconds.
const RETRY_AFTER_MS: u64 = 500;

/// The label of an append that the log did not answer.
const FAILED: &str = "failed";

/// What is known of earlier tries of the same send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The first try, on a connection that was told this epoch of the group.
    First {
        /// The epoch.
        told: Epoch,
    },
    /// A re-send; the head known at the first try.
    Again {
        /// That head.
        from: Position,
    },
    /// Nothing is known.
    Unknown,
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct Request {
    /// The event.
    pub draft: Draft,
    /// The rights of the permit; `None` for what a directory transaction decided.
    pub rights: Option<Position>,
    /// What is known of earlier tries.
    pub attempt: Attempt,
    /// What it belongs to.
    pub trace: Trace,
}

/// Where an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It stands at a new position.
    New(Receipt),
    /// It stood there already.
    Repeat(Receipt),
    /// Rights changed at this position after the permit was made: ask for a new one.
    RightsChanged(Position),
}

/// Appends events.
pub struct Appender {
    log: Arc<dyn Log>,
    messages: Arc<dyn Messages>,
    history: History,
    fences: Arc<Fences>,
    reopener: Arc<Reopener>,
    unsettled: Arc<Unsettled>,
    metrics: Metrics,
    traces: Traces,
    failed_at: Mutex<Option<Instant>>,
}

/// What one append has learnt from the answers so far.
#[derive(Debug, Default)]
struct Learnt {
    /// The epoch under which the message store was asked and knew nothing.
    asked: Option<Epoch>,
    /// Whether the log's memory alone is no longer believed.
    must_ask: bool,
    /// A remembered position that is dead.
    replace: Option<Position>,
    /// Since when the log has been asked without an answer. Other stores may be slow as well, and
    /// one group that is being opened must not make the whole node say `busy`.
    silent_since: Option<Instant>,
}

/// Whether to go on.
enum Step {
    Done(Placed),
    Again,
}

impl Appender {
    /// An appender over these stores.
    pub fn new(
        log: Arc<dyn Log>,
        messages: Arc<dyn Messages>,
        history: History,
        fences: Arc<Fences>,
        reopener: Arc<Reopener>,
        metrics: Metrics,
        traces: Traces,
    ) -> Self {
        let failed_at = Mutex::default();
        show_zero(&metrics.appends, FAILED);
        let unsettled = Unsettled::new(log.clone(), reopener.clone());
        Self {
            log,
            messages,
            history,
            fences,
            reopener,
            unsettled: Arc::new(unsettled),
            metrics,
            traces,
            failed_at,
        }
    }

    /// What was appended here and is not stored yet.
    pub fn unsettled(&self) -> Arc<Unsettled> {
        Arc::clone(&self.unsettled)
    }

    /// Appends the event, or finds where it stands already.
    ///
    /// # Errors
    /// `conflict` for another content under the same `client_id`. `busy` if nothing was written:
    /// the log is full, or did not answer others a moment ago, or the message store could not be
    /// asked. `internal` if the outcome is unknown, within a second when it is the log that does
    /// not answer. The same send may be sent again after either.
    pub async fn append(&self, request: &Request) -> Result<Placed> {
        let mut span = self.traces.child("append", Kind::Internal, request.trace);
        let placed = self.append_in(request, span.trace()).await;
        let (trace, group) = (request.trace.id, request.draft.group);
        span.note("qunliu.group", group);
        match &placed {
            Ok(Placed::New(receipt)) => {
                span.note("qunliu.position", receipt.pos);
                tracing::debug!(%trace, %group, pos = %receipt.pos, "appended");
            }
            Ok(Placed::Repeat(receipt)) => span.note("qunliu.repeats", receipt.pos),
            Ok(Placed::RightsChanged(at)) => span.note("qunliu.rights_changed", at),
            Err(error) => span.fail(error.code.name()),
        }
        span.end();
        placed
    }

    async fn append_in(&self, request: &Request, trace: Trace) -> Result<Placed> {
        self.refuse_while_resting()?;
        let mut learnt = Learnt::default();
        let started = Instant::now();
        let placed = timeout(PATIENCE, self.run(request, trace, &mut learnt)).await;
        match placed {
            Ok(Ok(placed)) => {
                self.note_answer();
                if let Placed::New(receipt) | Placed::Repeat(receipt) = &placed {
                    self.unsettled.note(request.draft.group, receipt);
                }
                self.metrics
                    .append_seconds
                    .observe(started.elapsed().as_secs_f64());
                Ok(placed)
            }
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(learnt.out_of_time()),
        }
    }

    async fn run(&self, request: &Request, trace: Trace, learnt: &mut Learnt) -> Result<Placed> {
        let mut pause = PAUSE;
        loop {
            match self.step(request, trace, learnt).await {
                Ok(Step::Done(placed)) => return Ok(placed),
                Ok(Step::Again) => {}
                Err(error) if is_transient(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE * 8);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&self, request: &Request, trace: Trace, learnt: &mut Learnt) -> Result<Step> {
        let group = request.draft.group;
        let fence = self.fences.get(group.partition()).await?;
        let append = Append {
            draft: request.draft.clone(),
            history: fence.history.clone(),
            epoch: fence.epoch,
            rights: request.rights,
            on_miss: on_miss(request.attempt, learnt, fence.epoch),
            replace: learnt.replace,
            trace: Some(trace),
        };
        let outcome = self.ask_log(append, learnt).await?;
        self.metrics
            .appends
            .with_label_values(&[name(&outcome)])
            .inc();
        self.follow(request, learnt, &fence, outcome).await
    }

    /// One try at the log. One that fails leaves it unknown whether the event was appended.
    async fn ask_log(&self, append: Append, learnt: &mut Learnt) -> Result<Outcome> {
        let since = *learnt.silent_since.get_or_insert_with(Instant::now);
        let answer = timeout_at(since + LOG_PATIENCE, self.log.append(append)).await;
        if let Ok(Ok(outcome)) = answer {
            learnt.silent_since = None;
            return Ok(outcome);
        }
        learnt.must_ask = true;
        learnt.asked = None;
        self.metrics.appends.with_label_values(&[FAILED]).inc();
        match answer {
            Ok(Err(error)) if !error.is_transient() || since.elapsed() < LOG_PATIENCE => {
                Err(error.into())
            }
            _ => {
                self.note_silence();
                Err(outcome_unknown())
            }
        }
    }

    /// Does what an answer of the log asks for.
    async fn follow(
        &self,
        request: &Request,
        learnt: &mut Learnt,
        fence: &Fence,
        outcome: Outcome,
    ) -> Result<Step> {
        let group = request.draft.group;
        let partition = group.partition();
        match outcome {
            Outcome::Appended(receipt) => return Ok(Step::Done(Placed::New(receipt))),
            Outcome::Repeated(receipt) => {
                if self.is_valid(request, receipt.pos).await? {
                    return Ok(Step::Done(Placed::Repeat(receipt)));
                }
                learnt.replace_dead(receipt.pos);
            }
            Outcome::Conflict(pos) => {
                if self.is_valid(request, pos).await? {
                    return Err(conflict());
                }
                learnt.replace_dead(pos);
            }
            Outcome::OtherHistory(history) => {
                self.fences.raise(partition, fence, &history).await?;
            }
            Outcome::StaleEpoch => {
                self.fences.catch_up(partition, fence.epoch).await?;
            }
            Outcome::NotOpen => self.reopener.reopen(group, fence.epoch).await?,
            Outcome::RightsChanged(pos) => return Ok(Step::Done(Placed::RightsChanged(pos))),
            // An earlier try may still reach the log.
            Outcome::Full if learnt.must_ask => return Err(outcome_unknown()),
            Outcome::Full => return Err(full()),
            Outcome::AskStore => return self.ask_store(request, learnt, fence).await,
        }
        Ok(Step::Again)
    }

    /// Asks the message store for the `client_id`, after the row of the named epoch was read
    /// (epochs.md rule 9).
    async fn ask_store(
        &self,
        request: &Request,
        learnt: &mut Learnt,
        fence: &Fence,
    ) -> Result<Step> {
        let group = request.draft.group;
        let table = self.history.table(group).await?;
        if table.epoch() != fence.epoch {
            if table.epoch() > fence.epoch {
                self.fences.read(group.partition()).await?;
            } else {
                self.reopener.reopen(group, fence.epoch).await?;
            }
            return Ok(Step::Again);
        }
        let fixed = &request.draft.fixed;
        let from = match request.attempt {
            Attempt::Again { from } => table.clamp(from),
            Attempt::First { .. } | Attempt::Unknown => Position::START,
        };
        let found = self
            .messages
            .find_sent(group, (fixed.sender, fixed.client_id), from)
            .await?;
        match found.into_iter().find(|entry| table.is_valid(entry.pos)) {
            None => {
                learnt.asked = Some(fence.epoch);
                Ok(Step::Again)
            }
            Some(entry) if entry.digest != fixed.content.digest() => Err(conflict()),
            Some(entry) => Ok(Step::Done(Placed::Repeat(
                self.receipt_of(request, &entry).await?,
            ))),
        }
    }

    /// The receipt of an event that the message store holds.
    async fn receipt_of(&self, request: &Request, entry: &Entry) -> Result<Receipt> {
        let head = self.log.head(request.draft.group).await?;
        let stored = head.map(|head| head.stored);
        let event = entry.event().map_err(Error::internal)?;
        Ok(Receipt {
            pos: entry.pos,
            message: event.fixed.content.message_id(),
            at: entry.at,
            count: entry.count,
            stored: stored.unwrap_or_default(),
        })
    }

    async fn is_valid(&self, request: &Request, pos: Position) -> Result<bool> {
        Ok(self.history.table(request.draft.group).await?.is_valid(pos))
    }

    /// Answers `busy` right after the log failed, instead of queueing behind it.
    fn refuse_while_resting(&self) -> Result<()> {
        let failed_at = *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match failed_at {
            Some(at) if at.elapsed() < REST => {
                let detail = "the log does not answer; nothing was sent to it";
                Err(Error::busy(Busy::Log, detail, RETRY_AFTER_MS))
            }
            _ => Ok(()),
        }
    }

    fn note_silence(&self) {
        *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn note_answer(&self) {
        *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Learnt {
    /// Makes the next try replace a dead memory, after the store was asked.
    fn replace_dead(&mut self, pos: Position) {
        self.replace = Some(pos);
        self.must_ask = true;
        self.asked = None;
    }

    /// Why an append ends whose time is over: if each call of the log was answered, none has written.
    fn out_of_time(&self) -> Error {
        if self.must_ask || self.silent_since.is_some() {
            return outcome_unknown();
        }
        let detail = "a store does not answer; nothing was written";
        Error::busy(Busy::Store, detail, RETRY_AFTER_MS)
    }
}

/// What a miss in the log's memory means (epochs.md rule 9).
fn on_miss(attempt: Attempt, learnt: &Learnt, named: Epoch) -> OnMiss {
    if learnt.asked == Some(named) {
        return OnMiss::Append;
    }
    match attempt {
        _ if learnt.must_ask => OnMiss::AskStore,
        Attempt::First { told } if told == named => OnMiss::Append,
        Attempt::Again { from } if from.epoch == named => OnMiss::AppendIfRemembered(from),
        Attempt::First { .. } | Attempt::Again { .. } | Attempt::Unknown => OnMiss::AskStore,
    }
}

/// The label of an outcome in metrics.
const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Appended(_) => "appended",
        Outcome::Repeated(_) => "repeated",
        Outcome::Conflict(_) => "conflict",
        Outcome::OtherHistory(_) => "other_history",
        Outcome::StaleEpoch => "stale_epoch",
        Outcome::NotOpen => "not_open",
        Outcome::RightsChanged(_) => "rights_changed",
        Outcome::Full => "full",
        Outcome::AskStore => "ask_store",
    }
}

fn is_transient(error: &Error) -> bool {
    let cause = error
        .source
        .as_ref()
        .and_then(|cause| cause.downcast_ref::<StoreError>());
    cause.is_some_and(StoreError::is_transient)
}

fn conflict() -> Error {
    Error::new(
        ErrorCode::Conflict,
        "another message was sent under this client_id; use a new client_id for new content",
    )
}

/// Nothing was written.
fn full() -> Error {
    let detail = "the log is full until its consumers have caught up; nothing was written";
    Error::busy(Busy::LogFull, detail, RETRY_AFTER_MS)
}

fn outcome_unknown() -> Error {
    let detail = "a store stopped answering; the outcome is unknown: send the same again";
    let error = Error::new(ErrorCode::Internal, detail);
    Error {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..error
    }
}
