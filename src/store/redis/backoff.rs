//! When to try again.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// When to try again: pauses double up to a bound, each shortened by chance so that processes
/// that failed together do not come back together.
#[derive(Debug, Default, Clone, Copy)]
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

    /// When it is time to try: now, or after a pause.
    pub(super) fn over_at(&self) -> Instant {
        self.until.unwrap_or_else(Instant::now)
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
