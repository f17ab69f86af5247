//! Runs one consumer: take, handle, acknowledge; retry while a store is away; take a batch apart
//! when some event in it can never be handled, and bury that one. Once for all consumers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::consumers::Handler;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::consumers::{ConsumerLog, Delivery};
use crate::telemetry::Metrics;

/// Events of one batch at most: what the message store takes well in one insert.
const BATCH_MAX: usize = 1000;

/// Tries of an event on its own before it is buried.
const TRIES_MAX: u32 = 5;

/// The pause after a failure; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs a handler over the logs.
pub struct Runner {
    log: Arc<dyn ConsumerLog>,
    handler: Arc<dyn Handler>,
    metrics: Metrics,
}

impl Runner {
    /// A runner of `handler` over `log`.
    pub fn new(log: Arc<dyn ConsumerLog>, handler: Arc<dyn Handler>, metrics: Metrics) -> Self {
        Self {
            log,
            handler,
            metrics,
        }
    }

    /// Runs until `stop`; the batch at hand is finished first.
    pub async fn run(self, stop: CancellationToken) {
        let consumer = self.handler.consumer();
        let mut pause = PAUSE;
        while let Some(taken) = stop
            .run_until_cancelled(self.log.take(consumer, BATCH_MAX))
            .await
        {
            let done = match taken {
                Ok(batch) => self.work(&batch).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => pause = PAUSE,
                Err(error) => {
                    self.failed(&error).await;
                    if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                        return;
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
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
        tracing::error!(consumer, %group, %pos, %error, "an event cannot be handled and is put aside");
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
