//! How often: a rate for each kind of request that costs much or that guessing needs, by the
//! address it comes from. Kept in this process; memory is bounded by the number of keys.

use std::net::IpAddr;
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use serde::Deserialize;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::protocol::code::ErrorCode;

/// How many keys of a rate are remembered; a forgotten one starts afresh.
const KEYS_MAX: u64 = 100_000;

/// Options of the limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whether limits of rate and number are kept.
    pub enabled: bool,
    /// Whom they leave alone: `loopback` or single addresses.
    pub exempt: Vec<String>,
    /// Sockets of one user on this node.
    pub sockets_per_user: usize,
    /// Accounts made from one address in an hour.
    pub registrations_per_hour: u32,
    /// Attempts to log in from one address in a minute.
    pub logins_per_minute: u32,
}

/// Addresses that limits leave alone.
#[derive(Debug, Clone, Default)]
pub struct Exempt {
    loopback: bool,
    addresses: Vec<IpAddr>,
}

impl Exempt {
    /// The addresses of the option; `None` if one is neither `loopback` nor an address.
    pub fn parse(names: &[String]) -> Option<Self> {
        let mut exempt = Self::default();
        for name in names {
            match name.as_str() {
                "loopback" => exempt.loopback = true,
                address => exempt.addresses.push(address.parse().ok()?),
            }
        }
        Some(exempt)
    }

    fn covers(&self, address: IpAddr) -> bool {
        (self.loopback && address.is_loopback()) || self.addresses.contains(&address)
    }
}

/// The limits of one server.
#[derive(Clone)]
pub struct Limits {
    enabled: bool,
    exempt: Exempt,
    registrations: Rate,
    logins: Rate,
}

impl Limits {
    /// Limits under these options, which were validated.
    pub fn new(options: &Options) -> Self {
        Self {
            enabled: options.enabled,
            exempt: Exempt::parse(&options.exempt).unwrap_or_default(),
            registrations: Rate::new(options.registrations_per_hour, Duration::from_secs(3600)),
            logins: Rate::new(options.logins_per_minute, Duration::from_secs(60)),
        }
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn registration(&self, address: Option<IpAddr>) -> Result<()> {
        self.count(&self.registrations, address)
    }

    /// Counts an attempt to log in.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn login(&self, address: Option<IpAddr>) -> Result<()> {
        self.count(&self.logins, address)
    }

    fn count(&self, rate: &Rate, address: Option<IpAddr>) -> Result<()> {
        let Some(address) = address.filter(|address| self.enabled && !self.exempt.covers(*address))
        else {
            return Ok(());
        };
        rate.count(address, Instant::now()).map_err(|wait| Error {
            retry_after_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)),
            ..Error::new(
                ErrorCode::RateLimited,
                "too many requests from this address",
            )
        })
    }
}

/// So many in a span: each key has a moment at which it will have paid for all it did (the
/// generic cell rate algorithm), and may be a whole span behind.
#[derive(Clone)]
struct Rate {
    price: Duration,
    span: Duration,
    paid: Cache<IpAddr, Instant>,
}

impl Rate {
    fn new(number: u32, span: Duration) -> Self {
        let paid = Cache::builder()
            .max_capacity(KEYS_MAX)
            .time_to_idle(span)
            .build();
        Self {
            price: span / number.max(1),
            span,
            paid,
        }
    }

    /// Counts one, or says how long to wait.
    fn count(&self, key: IpAddr, now: Instant) -> std::result::Result<(), Duration> {
        let mut wait = Duration::ZERO;
        self.paid.entry(network(key)).and_compute_with(|entry| {
            let paid = entry.map_or(now, |entry| entry.into_value().max(now)) + self.price;
            wait = paid.duration_since(now).saturating_sub(self.span);
            if wait.is_zero() {
                Op::Put(paid)
            } else {
                Op::Nop
            }
        });
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }
}

/// One customer line of IPv6 is a /64: its addresses count as one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_its_number_through_and_then_says_how_long_to_wait() {
        let rate = Rate::new(3, Duration::from_secs(60));
        let (address, now) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        assert!((0..3).all(|_| rate.count(address, now).is_ok()));
        assert_eq!(rate.count(address, now), Err(Duration::from_secs(20)));
        assert!(rate.count(IpAddr::from([10, 0, 0, 2]), now).is_ok());
        assert!(rate.count(address, now + Duration::from_secs(20)).is_ok());
        assert!(rate.count(address, now + Duration::from_secs(20)).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_line_count_as_one() {
        let rate = Rate::new(1, Duration::from_secs(60));
        let now = Instant::now();
        assert!(rate.count("2001:db8::1".parse().unwrap(), now).is_ok());
        assert!(rate.count("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(rate.count("2001:db8:0:1::1".parse().unwrap(), now).is_ok());
    }
}
