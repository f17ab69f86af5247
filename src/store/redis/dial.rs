//! Makes connections: RESP3, with explicit time-outs (the driver's own is 500 ms).

use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, RedisResult};
use tokio::time::Instant;

use super::link::DRIVER_QUEUE;
use super::options::Options;

/// Where to connect, and how long to wait.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    client: Client,
    config: AsyncConnectionConfig,
}

impl Dial {
    /// A dial for `url`, as in `redis://:password@host:6379/0`.
    pub(super) fn new(url: &str, options: &Options) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout()))
            .set_response_timeout(Some(options.response_timeout()))
            .set_pipeline_buffer_size(DRIVER_QUEUE);
        Ok(Self {
            client: Client::open(info.set_redis_settings(settings))?,
            config,
        })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
    }

    /// A new connection whose pushes go to `ear`, its end included.
    pub(super) async fn connect_with(
        &self,
        ear: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let config = self.config.clone().set_push_sender(ear);
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// When to try again: pauses double up to a bound, each shortened by chance so that processes
/// that failed together do not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure.
    pub(super) fn fail(&mut self) {
        let longest = PAUSE_MIN
            .saturating_mul(1 << self.failures.min(8))
            .min(PAUSE_MAX);
        let share = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(Instant::now() + longest.mul_f64(0.5 + share / 2.0));
    }

    /// Forgets all failures.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Whether it is too early to try.
    pub(super) fn is_pausing(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it is time to try.
    pub(super) async fn pause(&self) {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_end_with_a_success() {
        let mut backoff = Backoff::default();
        backoff.fail();
        assert!(backoff.is_pausing());
        (0..40).for_each(|_| backoff.fail());
        tokio::time::advance(PAUSE_MAX / 3).await;
        assert!(backoff.is_pausing());
        tokio::time::advance(PAUSE_MAX).await;
        assert!(!backoff.is_pausing());
        backoff.fail();
        backoff.succeed();
        assert!(!backoff.is_pausing());
    }
}
