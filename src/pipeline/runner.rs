//! Runs one consumer: take, handle, acknowledge; retry while a store is away; take a batch apart
//! when some event in it can never be handled, and bury that one. Once for all consumers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::consumers::Handler;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::consumers::{ConsumerLog, Delivery};
use crate::telemetry::{Metrics, show_zero};

/// Events of one batch at most: what the message store takes well in one insert.
const BATCH_MAX: usize = 1000;

/// After a batch of so many no more are waited for: each of them costs as little as it can.
const FULL: usize = 256;

/// Tries of an event on its own before it is buried.
const TRIES_MAX: u32 = 5;

/// The pause after a failure; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// When nothing came for so long, nothing that failed here is still to be handled here.
const IDLE: Duration = Duration::from_secs(5);

/// Runs a handler over the logs.
pub struct Runner {
    log: Arc<dyn ConsumerLog>,
    handler: Arc<dyn Handler>,
    metrics: Metrics,
}

impl Runner {
    /// A runner of `handler` over `log`.
    pub fn new(log: Arc<dyn ConsumerLog>, handler: Arc<dyn Handler>, metrics: Metrics) -> Self {
        let name = handler.consumer().name();
        show_zero(&metrics.consumed, name);
        show_zero(&metrics.consumer_retries, name);
        show_zero(&metrics.dead_letters, name);
        Self {
            log,
            handler,
            metrics,
        }
    }

    /// Runs until `stop`; the batch at hand is finished first.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = PAUSE;
        self.note_oldest(None);
        while let Some(taken) = stop.run_until_cancelled(self.take()).await {
            let next = Instant::now() + self.handler.period();
            let done = match taken {
                Ok(batch) => self.work(&batch).await.map(|()| batch.len()),
                Err(error) => Err(error),
            };
            match done {
                Ok(handled) => {
                    pause = PAUSE;
                    self.note_oldest(None);
                    if handled < FULL {
                        stop.run_until_cancelled(sleep_until(next)).await;
                    }
                }
                Err(error) => {
                    self.failed(&error).await;
                    stop.run_until_cancelled(sleep(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn take(&self) -> Result<Vec<Delivery>> {
        let taking = self.log.take(self.handler.consumer(), BATCH_MAX);
        tokio::pin!(taking);
        tokio::select! {
            taken = &mut taking => return taken,
            () = sleep(IDLE) => self.note_oldest(None),
        }
        taking.await
    }

    /// Says how old the oldest event is that was taken and not handled. After a failure it stays
    /// as it is: the events come again, here or elsewhere.
    fn note_oldest(&self, at: Option<Time>) {
        let oldest = self
            .metrics
            .consumer_oldest
            .with_label_values(&[self.handler.consumer().name()]);
        let since_1970 = at.map(|at| at.since(Time::default()).as_secs_f64());
        oldest.set(since_1970.unwrap_or_default());
    }

    async fn failed(&self, error: &crate::store::StoreError) {
        let consumer = self.handler.consumer();
        self.metrics
            .consumer_retries
            .with_label_values(&[consumer.name()])
            .inc();
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(consumer = consumer.name(), %error, cause, "a batch will be taken again");
        self.log.release(consumer).await;
    }

    async fn work(&self, batch: &[Delivery]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let readable = batch.iter().filter_map(|one| one.entry.as_ref().ok());
        self.note_oldest(readable.map(|entry| entry.at).min());
        match self.handler.handle(batch).await {
            Ok(()) => self.ack(batch).await,
            Err(error) if error.is_transient() => Err(error),
            Err(_) => self.apart(batch).await,
        }
    }

    /// One by one, so that only what cannot be handled is buried.
    async fn apart(&self, batch: &[Delivery]) -> Result<()> {
        for delivery in batch {
            self.alone(delivery).await?;
            self.ack(std::slice::from_ref(delivery)).await?;
        }
        Ok(())
    }

    async fn alone(&self, delivery: &Delivery) -> Result<()> {
        let mut tries = 1;
        loop {
            match self.handler.handle(std::slice::from_ref(delivery)).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) if tries >= TRIES_MAX => return self.bury(delivery, &error).await,
                Err(_) => tries += 1,
            }
        }
    }

    async fn bury(&self, letter: &Delivery, error: &crate::store::StoreError) -> Result<()> {
        let consumer = self.handler.consumer().name();
        let (group, pos) = (letter.group, letter.pos);
        let trace = letter.trace.map(|trace| tracing::field::display(trace.id));
        tracing::error!(consumer, %group, %pos, trace, %error, "an event cannot be handled and is put aside");
        self.metrics
            .dead_letters
            .with_label_values(&[consumer])
            .inc();
        self.handler.bury(letter, &error.to_string()).await
    }

    async fn ack(&self, batch: &[Delivery]) -> Result<()> {
        let done: Vec<(GroupId, Position)> = batch.iter().map(|d| (d.group, d.pos)).collect();
        self.log.ack(self.handler.consumer(), &done).await?;
        let handled = self
            .metrics
            .consumed
            .with_label_values(&[self.handler.consumer().name()]);
        handled.inc_by(batch.len() as u64);
        Ok(())
    }
}
