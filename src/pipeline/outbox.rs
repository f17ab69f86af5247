//! Carries decided changes of membership from the directory to the logs: one transaction decides
//! and writes an outbox row, then the event is appended under the row's id, then the row is
//! marked (dataflow.md, "One append"), and new members' devices are told. A sweeper finishes what a
//! crash left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::append::{Appender, Attempt, Placed, Request};
use super::fences::Fences;
use crate::clock::{Clock, every};
use crate::error::{Error, Result};
use crate::model::event::{Content, Draft, Fixed};
use crate::model::id::Partition;
use crate::model::position::{Epoch, Position};
use crate::model::time::Time;
use crate::model::trace::Trace;
use crate::store::cards::Cards;
use crate::store::directory::{Directory, OutboxRow};
use crate::store::log::Receipt;
use crate::store::signals::{Signal, Signals};
use crate::telemetry::Metrics;
use crate::traces::{Kind, Traces};

/// How often the sweeper looks.
const SWEEP: Duration = Duration::from_secs(2);

/// A row younger than this is still in the hands of the request that decided it.
const GRACE_MS: i64 = 5_000;

/// The name of a row's span.
const SPAN: &str = "outbox row";

/// Rows carried in one sweep.
const SWEEP_ROWS: u32 = 200;

/// Appends outbox rows.
#[derive(Clone)]
pub struct Outbox {
    /// What was decided.
    pub directory: Arc<dyn Directory>,
    /// The way into the logs.
    pub appender: Arc<Appender>,
    /// What may rise in between.
    pub fences: Arc<Fences>,
    /// Copies of memberships.
    pub cards: Arc<dyn Cards>,
    /// The way to new members' devices.
    pub signals: Arc<dyn Signals>,
    /// What tells which rows are due.
    pub clock: Arc<dyn Clock>,
    /// Counts what is due.
    pub metrics: Metrics,
    /// A span for each row.
    pub traces: Traces,
}

impl Outbox {
    /// Appends rows in their order and marks each, as parts of the trace of who decided them if they
    /// are still here; answers where they stand.
    ///
    /// # Errors
    /// The log or the directory does not answer. The change is decided all the same, and the
    /// sweeper will finish it.
    pub async fn append(&self, rows: &[OutboxRow], decided: Option<Trace>) -> Result<Vec<Receipt>> {
        loop {
            let fences = self.fences_of(rows).await?;
            let mut receipts = Vec::with_capacity(rows.len());
            for row in rows {
                receipts.push(self.append_one(row, decided).await?);
            }
            // Whoever raised a fence may have looked for events that died before these were
            // marked, and passed them over (epochs.md rule 4). Appending again is harmless.
            if self.fences.still_stand(&fences).await? {
                return Ok(receipts);
            }
        }
    }

    async fn fences_of(&self, rows: &[OutboxRow]) -> Result<Vec<(Partition, Epoch)>> {
        let partitions: BTreeSet<Partition> =
            rows.iter().map(|row| row.group.partition()).collect();
        let mut fences = Vec::with_capacity(partitions.len());
        for partition in partitions {
            fences.push((partition, self.fences.get(partition).await?.epoch));
        }
        Ok(fences)
    }

    async fn append_one(&self, row: &OutboxRow, decided: Option<Trace>) -> Result<Receipt> {
        let span = match decided {
            Some(trace) => self.traces.child(SPAN, Kind::Internal, trace),
            None => self.traces.entry(SPAN, None),
        };
        let fixed = Fixed {
            client_id: row.id,
            sender: row.actor,
            at: row.at,
            content: row.content.clone(),
        };
        let draft = Draft {
            group: row.group,
            fixed,
        };
        let request = Request {
            draft,
            rights: None,
            attempt: Attempt::Unknown,
            trace: span.trace(),
        };
        let receipt = match self.appender.append(&request).await? {
            Placed::New(receipt) | Placed::Repeat(receipt) => receipt,
            Placed::RightsChanged(_) => {
                return Err(Error::internal(
                    "an append without a permit was refused for rights",
                ));
            }
        };
        let member = row.content.member();
        if let Some(user) = member {
            self.cards.hold(user).await?;
        }
        self.directory.mark_appended(row.id, receipt.pos).await?;
        self.tell_joined(row, receipt.pos).await;
        if let Some(user) = member
            && let Err(error) = self.cards.let_go(user).await
        {
            tracing::debug!(%error, "a card stays empty for longer than it must");
        }
        span.end();
        Ok(receipt)
    }

    /// Only a marked membership is one: told earlier, a node would look and find nothing.
    async fn tell_joined(&self, row: &OutboxRow, pos: Position) {
        let Content::Joined { user, .. } = row.content else {
            return;
        };
        let joined = Signal::Joined(user, row.group, pos);
        if let Err(error) = self.signals.publish(&[joined]).await {
            tracing::debug!(%error, "a new member's devices learn of it later");
        }
    }

    /// Carries what is due, again and again until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut tick = every(SWEEP);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.sweep_once().await {
                tracing::warn!(%error, "outbox rows wait for the next sweep");
            }
        }
    }

    async fn sweep_once(&self) -> Result<()> {
        let before = Time::from_millis(self.clock.now().as_millis() - GRACE_MS);
        let rows = self.directory.due(before, SWEEP_ROWS).await?;
        let due = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        self.metrics.outbox_due.set(due);
        if !rows.is_empty() {
            tracing::info!(rows = rows.len(), "finishing changes that a crash left");
        }
        self.append(&rows, None).await.map(|_| ())
    }
}
