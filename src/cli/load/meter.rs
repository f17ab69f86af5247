//! What all clients count together while the run goes on: totals for the progress bar and the
//! end of the wait, and latency histograms for the report.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency told apart; what never came is counted there and shown as infinite.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Decimal digits that a histogram keeps of a latency.
const DIGITS: u8 = 3;

/// A total.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// `more` more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// `less` less.
    pub fn take(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    /// The total now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Latencies of one kind, in microseconds.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, micros(LATENCY_MAX), DIGITS);
        Self(Mutex::new(
            histogram.expect("the bounds and digits are constants in range"),
        ))
    }
}

impl Latency {
    /// Takes one latency.
    pub fn record(&self, latency: Duration) {
        self.lock().saturating_record(micros(latency).max(1));
    }

    /// Counts what never came.
    pub fn record_never(&self, count: u64) {
        self.lock().saturating_record_n(micros(LATENCY_MAX), count);
    }

    /// How many were taken.
    pub fn count(&self) -> u64 {
        self.lock().len()
    }

    /// The latency that `quantile` of all stay at or below; `None` = never.
    pub fn at(&self, quantile: f64) -> Option<Duration> {
        let histogram = self.lock();
        let value = histogram.value_at_quantile(quantile);
        let never = histogram.lowest_equivalent(micros(LATENCY_MAX));
        (value < never).then(|| Duration::from_micros(value))
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Meter {
    /// Clients whose socket is live now.
    pub live: Count,
    /// Clients with something unsettled now.
    pub busy: Count,
    /// Clients that may not come back.
    pub ended: Count,
    /// Messages said.
    pub sent: Count,
    /// Messages accepted.
    pub accepted: Count,
    /// Messages stored.
    pub stored: Count,
    /// Messages refused for good.
    pub refused: Count,
    /// Pairs of a message and a member whose socket saw it.
    pub delivered: Count,
    /// Pairs that no longer can be, because the message was refused.
    pub void: Count,
    /// Re-sends.
    pub again: Count,
    /// Welcomes after the first one of a client.
    pub reconnects: Count,
    /// Nodes that said that they go away, once for each client.
    pub goaways: Count,
    /// Epochs told.
    pub epochs: Count,
    /// Queues that overflowed.
    pub resyncs: Count,
    /// Holes in what was pushed, which no resync told of; a page filled them.
    pub holes: Count,
    /// Pages asked for.
    pub pulls: Count,
    /// From due to said: how late this generator itself was.
    pub lag: Latency,
    /// From due to accepted.
    pub accept: Latency,
    /// From due to stored.
    pub store: Latency,
    /// From first accepted to stored: how far the archive is behind the log.
    pub archive: Latency,
    /// From due to each member's socket.
    pub delivery: Latency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_came_counts_in_the_quantiles() {
        let latency = Latency::default();
        (0..98).for_each(|_| latency.record(Duration::from_millis(5)));
        latency.record_never(2);
        assert_eq!(latency.at(0.5).unwrap().as_millis(), 5);
        assert_eq!(latency.at(0.99), None);
        assert_eq!(latency.count(), 100);
    }
}
