//! Cold arrivals come in at a rate. Who cannot be welcomed by a card costs the directory and the
//! message store some queries; after a restart of everything all come at once, and all together
//! would keep each other waiting until every client gave up.
//!
//! In: somebody arrives cold. Out: a place among those under way, until it is dropped, or `busy`
//! with the moment at which to come back, another one for each. Nobody is queued here, and who
//! arrives by a card is never asked.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Options;
use super::group::lock;
use crate::error::{Busy, Error, Result};
use crate::telemetry::{Metrics, show_zero};

/// The latest that anybody is told to come back: beyond, clients would be taken for lost. Those who
/// are too many for it come back among the others, and may be told again.
const LATER_MAX: Duration = Duration::from_secs(30);

/// The labels of what became of a cold arrival.
const ADMITTED: &str = "admitted";
const REFUSED: &str = "refused";

/// Lets cold arrivals in. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    places: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
    /// The time of one at this rate.
    each: Duration,
    /// The last moment that somebody was told to come back at.
    promised: Mutex<Instant>,
    metrics: Metrics,
}

/// A place among the cold arrivals under way, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    _place: OwnedSemaphorePermit,
}

impl Admission {
    /// Nobody is under way yet.
    pub fn new(options: &Options, metrics: Metrics) -> Self {
        show_zero(&metrics.cold_arrivals, ADMITTED);
        show_zero(&metrics.cold_arrivals, REFUSED);
        let rate = at_least_one(options.cold_arrivals_per_second);
        let at_once = at_least_one(options.cold_arrivals_max);
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(usize::try_from(at_once.get()).unwrap_or(1))),
            rate: RateLimiter::direct(Quota::per_second(rate).allow_burst(at_once)),
            each: Duration::from_secs(1) / rate.get(),
            promised: Mutex::new(Instant::now()),
            metrics,
        }))
    }

    /// A place for one who arrives cold.
    ///
    /// # Errors
    /// `busy` when all places are taken or the rate is spent, with the moment to come back.
    pub(super) fn admit(&self) -> Result<Admitted> {
        let Inner {
            places,
            rate,
            metrics,
            ..
        } = &*self.0;
        let place = Arc::clone(places).try_acquire_owned().ok();
        // A rate that nobody can use is not spent.
        let place = place.filter(|_| rate.check().is_ok());
        let result = if place.is_some() { ADMITTED } else { REFUSED };
        metrics.cold_arrivals.with_label_values(&[result]).inc();
        match place {
            Some(place) => Ok(Admitted { _place: place }),
            None => Err(Error::busy(
                Busy::Arrivals,
                "too many arrive at once; come back",
                self.later(),
            )),
        }
    }

    /// When to come back, in milliseconds: the refused follow each other at the rate.
    fn later(&self) -> u64 {
        let now = Instant::now();
        let mut promised = lock(&self.0.promised);
        let next = (*promised).max(now) + self.0.each;
        *promised = match next - now > LATER_MAX {
            true => now + self.0.each,
            false => next,
        };
        let later = (*promised - now).as_millis();
        u64::try_from(later).unwrap_or(u64::MAX).max(1)
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(at_once: u32, per_second: u32) -> Admission {
        let options = Options {
            heartbeat_s: 25,
            queue_bytes_max: 1 << 20,
            slow_reader_s: 15,
            resume_events_max: 0,
            resume_bytes_max: 0,
            signals_members_max: 0,
            signals_per_second_max: 0,
            offline_after_s: 0,
            cold_arrivals_max: at_once,
            cold_arrivals_per_second: per_second,
            sockets_per_user: 1,
        };
        Admission::new(&options, Metrics::new().unwrap())
    }

    fn told(admission: &Admission) -> Option<u64> {
        admission
            .admit()
            .err()
            .map(|error| error.retry_after_ms.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_may_be() {
        let admission = admission(2, 1_000_000);
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert!(told(&admission).is_some());
        drop(first);
        assert!(admission.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_refused_are_told_to_come_one_after_the_other() {
        let admission = admission(1, 10);
        let _place = admission.admit().unwrap();
        let told: Vec<_> = (0..4).map(|_| told(&admission).unwrap()).collect();
        assert_eq!(told, [100, 200, 300, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_to_come_back_later_than_half_a_minute() {
        let admission = admission(1, 1);
        let _place = admission.admit().unwrap();
        let told: Vec<_> = (0..32).map(|_| told(&admission).unwrap()).collect();
        assert_eq!(told[29..], [30_000, 1_000, 2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_admitted_and_is_done_still_counts_for_the_rate() {
        let admission = admission(1, 1);
        assert!(admission.admit().is_ok());
        assert!(told(&admission).is_some());
    }
}
