//! Which stores answer, for supervisors and operators. However many want to know, the stores are
//! asked once a second at most.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::accounts::Accounts;
use super::epochs::Epochs;
use super::log::Log;
use crate::model::id::Partition;
use crate::telemetry::Metrics;

/// How long a store may take to count as there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// How long what was seen is told again.
const FRESH: Duration = Duration::from_secs(1);

/// Asks each store something cheap that only a healthy one answers.
pub struct Readiness {
    accounts: Arc<dyn Accounts>,
    log: Arc<dyn Log>,
    epochs: Arc<dyn Epochs>,
    metrics: Metrics,
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    at: Instant,
    missing: Vec<&'static str>,
}

impl Readiness {
    /// Asks these stores, and shows in `metrics` what they answer.
    pub fn new(
        accounts: Arc<dyn Accounts>,
        log: Arc<dyn Log>,
        epochs: Arc<dyn Epochs>,
        metrics: Metrics,
    ) -> Self {
        Self {
            accounts,
            log,
            epochs,
            metrics,
            seen: Mutex::default(),
        }
    }

    /// The stores that do not answer: `directory`, `log`, `messages`.
    pub async fn missing(&self) -> Vec<&'static str> {
        let mut seen = self.seen.lock().await;
        if let Some(seen) = &*seen
            && seen.at.elapsed() < FRESH
        {
            return seen.missing.clone();
        }
        let missing = self.look().await;
        *seen = Some(Seen {
            at: Instant::now(),
            missing: missing.clone(),
        });
        missing
    }

    async fn look(&self) -> Vec<&'static str> {
        let partition = Partition(0);
        let (directory, log, messages) = tokio::join!(
            self.answers("directory", self.accounts.is_empty()),
            self.answers("log", self.log.history(partition)),
            self.answers("messages", self.epochs.fence(partition)),
        );
        let all = [directory, log, messages].into_iter();
        all.filter_map(Result::err).collect()
    }

    /// Whether it answers in time; its name if it does not.
    async fn answers<T, E>(
        &self,
        store: &'static str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<(), &'static str> {
        let asked = Instant::now();
        let answered = matches!(timeout(ANSWERS_WITHIN, answer).await, Ok(Ok(_)));
        let name = [store];
        let took = asked.elapsed().as_secs_f64();
        let (ready, seconds) = (&self.metrics.store_ready, &self.metrics.store_probe_seconds);
        ready.with_label_values(&name).set(answered.into());
        seconds.with_label_values(&name).set(took);
        match answered {
            true => Ok(()),
            false => Err(store),
        }
    }
}
