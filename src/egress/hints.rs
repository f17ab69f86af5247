//! Hints on their way out: who types, comes or goes here is told to all nodes, this one included.
//!
//! In: a hint from any task, at once and without waiting. Out: batches to the store. What is over
//! a bound on the way is dropped and counted, and nobody is told so; a hint never holds anything
//! up. What comes in from all nodes is [`super::hearing`].

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::hint::{Hint, HintKind};
use crate::model::id::{GroupId, UserId};
use crate::store::presence::Presence;
use crate::telemetry::Metrics;

/// Hints that wait to be told; more are dropped.
const QUEUED_MAX: usize = 1_024;

/// Hints in one call to the store.
const BATCH: usize = 256;

/// How long the store may take; then the batch is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often one person's typing in one group is told.
const TYPING_PACE: Duration = Duration::from_secs(3);

/// People and groups whose last typing is remembered; about 100 bytes each.
const TYPING_KEPT: u64 = 100_000;

/// The way out. Cheap to clone.
#[derive(Clone)]
pub struct Hints {
    queue: mpsc::Sender<Hint>,
    typed: Cache<(GroupId, UserId), ()>,
    metrics: Metrics,
}

/// What waits to be told, for the one task that tells it.
pub struct Outgoing {
    queue: mpsc::Receiver<Hint>,
    presence: Arc<dyn Presence>,
    metrics: Metrics,
}

impl Hints {
    /// A way out through this store, once [`Outgoing::run`] runs.
    pub fn new(presence: Arc<dyn Presence>, metrics: Metrics) -> (Self, Outgoing) {
        let (sender, queue) = mpsc::channel(QUEUED_MAX);
        let typed = Cache::builder()
            .max_capacity(TYPING_KEPT)
            .time_to_live(TYPING_PACE)
            .build();
        let hints = Self {
            queue: sender,
            typed,
            metrics: metrics.clone(),
        };
        let outgoing = Outgoing {
            queue,
            presence,
            metrics,
        };
        (hints, outgoing)
    }

    /// Whether it is time to tell again that this person types there; what comes sooner is as
    /// good as told.
    pub fn is_typing_due(&self, user: UserId, group: GroupId) -> bool {
        let is_due = self.typed.entry((group, user)).or_insert(()).is_fresh();
        if !is_due {
            self.count_dropped("pace", 1);
        }
        is_due
    }

    /// Tells a hint soon, or drops it.
    pub fn offer(&self, kind: HintKind, user: UserId, groups: Vec<GroupId>) {
        if groups.is_empty() {
            return;
        }
        let hint = Hint { kind, user, groups };
        if self.queue.try_send(hint).is_err() {
            self.count_dropped("queue", 1);
        }
    }

    /// Counts hints that are not told.
    pub fn count_dropped(&self, reason: &str, count: u64) {
        count_dropped(&self.metrics, reason, count);
    }
}

impl Outgoing {
    /// Tells what is offered, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut hints = Vec::new();
        loop {
            let taken = self.queue.recv_many(&mut hints, BATCH);
            match stop.run_until_cancelled(taken).await {
                None | Some(0) => return,
                Some(_) => self.tell(&hints).await,
            }
            hints.clear();
        }
    }

    async fn tell(&self, hints: &[Hint]) {
        if !matches!(
            timeout(PATIENCE, self.presence.tell(hints)).await,
            Ok(Ok(()))
        ) {
            count_dropped(&self.metrics, "store", hints.len() as u64);
        }
    }
}

pub(super) fn count_dropped(metrics: &Metrics, reason: &str, count: u64) {
    let dropped = metrics.signals_dropped.with_label_values(&[reason]);
    dropped.inc_by(count);
}
