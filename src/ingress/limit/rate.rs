//! So many in a while, for each key: the generic cell rate algorithm of the `governor` crate.
//!
//! A budget comes back evenly, so whoever spent it waits for the next part of it and not for the
//! end of a window. Keys that have their whole budget back are forgotten by a sweep; if more than
//! [`KEYS_MAX`] have not, all are, and memory stays bounded.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::error::Policy;

/// Keys of one rate that are remembered beyond a sweep; some 60 bytes each. Who comes from more
/// addresses than this is beyond what counting by address can hold off.
const KEYS_MAX: usize = 200_000;

/// A rate per second may be spent in one go for so many seconds: people do several things at
/// once and then nothing.
const BURST_S: u32 = 3;

/// What was asked too often, and how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) policy: Policy,
    pub(super) wait: Duration,
}

/// What a sweep needs to know of a rate, whatever its keys are.
pub(super) trait Sweep {
    /// The key of `[limits]` that sets it.
    fn name(&self) -> &'static str;
    /// Forgets keys with a whole budget.
    fn sweep(&self);
}

type Limiter<K, C> = RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// One rate.
pub(super) struct Rate<K: Hash + Eq + Copy, C: Clock = DefaultClock> {
    policy: Policy,
    clock: C,
    /// Replaced as a whole when it has too many keys.
    limiter: RwLock<Limiter<K, C>>,
}

impl<K: Hash + Eq + Copy> Rate<K> {
    /// `number` a second, and three seconds' worth of it at once.
    pub(super) fn per_second(name: &'static str, number: u32) -> Self {
        let quota = number.saturating_mul(BURST_S);
        Self::new(name, quota, BURST_S.into(), DefaultClock::default())
    }

    /// `number` a minute, also at once.
    pub(super) fn per_minute(name: &'static str, number: u32) -> Self {
        Self::new(name, number, 60, DefaultClock::default())
    }

    /// `number` an hour, also at once.
    pub(super) fn per_hour(name: &'static str, number: u32) -> Self {
        Self::new(name, number, 3600, DefaultClock::default())
    }
}

impl<K: Hash + Eq + Copy, C: Clock + Clone> Rate<K, C> {
    fn new(name: &'static str, quota: u32, window_s: u64, clock: C) -> Self {
        let policy = Policy {
            name,
            quota,
            window_s,
        };
        Self {
            limiter: RwLock::new(limiter(&policy, &clock)),
            policy,
            clock,
        }
    }

    /// Spends `amount` of the key's budget, or nothing of it and says how long to wait.
    pub(super) fn count(&self, key: K, amount: u32) -> Result<(), Exceeded> {
        let Some(amount) = NonZeroU32::new(amount) else {
            return Ok(());
        };
        let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
        let wait = match limiter.check_key_n(&key, amount) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(until)) => until.wait_time_from(self.clock.now()),
            // More than there ever is; the bounds of the options leave no such call.
            Err(_) => Duration::from_secs(self.policy.window_s),
        };
        Err(Exceeded {
            policy: self.policy.clone(),
            wait,
        })
    }
}

impl<K: Hash + Eq + Copy, C: Clock + Clone> Sweep for Rate<K, C> {
    fn name(&self) -> &'static str {
        self.policy.name
    }

    fn sweep(&self) {
        let keys = {
            let limiter = self.limiter.read().unwrap_or_else(PoisonError::into_inner);
            limiter.retain_recent();
            limiter.shrink_to_fit();
            limiter.len()
        };
        if keys > KEYS_MAX {
            tracing::warn!(limit = self.policy.name, keys, "too many to remember");
            let mut limiter = self.limiter.write().unwrap_or_else(PoisonError::into_inner);
            *limiter = self::limiter(&self.policy, &self.clock);
        }
    }
}

fn limiter<K: Hash + Eq + Copy, C: Clock + Clone>(policy: &Policy, clock: &C) -> Limiter<K, C> {
    let number = NonZeroU32::new(policy.quota).unwrap_or(NonZeroU32::MIN);
    let each = Duration::from_secs(policy.window_s) / number.get();
    let quota = Quota::with_period(each).unwrap_or(Quota::per_second(number));
    RateLimiter::dashmap_with_clock(quota.allow_burst(number), clock.clone())
}

/// One customer line of IPv6 is a /64: its addresses count as one.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(quota: u32, window_s: u64) -> (Rate<u32, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Rate::new("tries", quota, window_s, clock.clone()), clock)
    }

    fn wait(rate: &Rate<u32, FakeRelativeClock>, key: u32) -> Option<Duration> {
        rate.count(key, 1).err().map(|exceeded| exceeded.wait)
    }

    #[test]
    fn a_rate_lets_its_number_through_and_then_says_how_long_to_wait() {
        let (rate, clock) = rate(3, 60);
        assert!((0..3).all(|_| wait(&rate, 1).is_none()));
        assert_eq!(wait(&rate, 1), Some(Duration::from_secs(20)));
        assert_eq!(wait(&rate, 2), None);
        clock.advance(Duration::from_secs(20));
        assert_eq!(wait(&rate, 1), None);
        assert_eq!(wait(&rate, 1), Some(Duration::from_secs(20)));
    }

    #[test]
    fn an_amount_is_spent_whole_or_not_at_all() {
        let (rate, _) = rate(10, 10);
        assert!(rate.count(1, 8).is_ok());
        assert!(rate.count(1, 3).is_err());
        assert!(rate.count(1, 2).is_ok());
        assert!(rate.count(2, 11).is_err());
    }

    #[test]
    fn who_has_the_whole_budget_back_is_forgotten() {
        let (rate, clock) = rate(3, 60);
        assert!(rate.count(1, 1).is_ok());
        clock.advance(Duration::from_secs(19));
        assert!(rate.count(2, 1).is_ok());
        clock.advance(Duration::from_secs(22));
        rate.sweep();
        assert_eq!(rate.limiter.read().unwrap().len(), 1);
    }

    #[test]
    fn more_keys_than_can_be_remembered_are_forgotten_together() {
        let (rate, _) = rate(1, 60);
        for key in 0..=u32::try_from(KEYS_MAX).unwrap() {
            assert!(rate.count(key, 1).is_ok());
        }
        rate.sweep();
        assert_eq!(rate.limiter.read().unwrap().len(), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_line_count_as_one() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
