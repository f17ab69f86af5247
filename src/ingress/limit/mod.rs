//! How often, and how many: what one address, one user, one group and everybody together may ask
//! of this process.
//!
//! Who asks flows in, with what is asked; a refusal flows out that says which key of `[limits]`
//! refused it and when to come back. A call over REST and a frame that asks for the same spend
//! one budget. Counts live in this process alone: a second node gives the same again. What is
//! tightest comes first, so that one who asks too much spends nothing of what others share.
//!
//! To add a limit: a rate here with its line in [`Rates::all`], a key in [`options`] and in
//! `config.toml`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::exempt::Exempt;
use self::options::Options;
use self::rate::{Exceeded, Rate, Sweep};
use self::sockets::{Place, Sockets};
use crate::error::{Error, Policy, Result};
use crate::model::id::{GroupId, UserId};
use crate::protocol::code::ErrorCode;
use crate::telemetry::Metrics;

pub mod exempt; // whom limits leave alone
pub mod options; // the keys of `[limits]`
mod rate; // so many in a while, for each key
pub mod sockets; // so many at once, for each address

/// How often keys that have their whole budget back are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The limits of one server. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    enabled: bool,
    exempt: Exempt,
    rates: Rates,
    sockets: Arc<Sockets>,
    metrics: Metrics,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// From where; `None` only where a filter is called without a connection.
    pub address: Option<IpAddr>,
    /// Who, once that is proven.
    pub user: UserId,
}

impl Limits {
    /// Limits under these options, which were validated.
    pub fn new(options: &Options, exempt: Exempt, metrics: &Metrics) -> Self {
        let rates = Rates::new(options);
        for rate in rates.all() {
            metrics.refused.with_label_values(&[rate.name()]);
        }
        Self(Arc::new(Inner {
            enabled: options.enabled,
            exempt,
            rates,
            sockets: Arc::new(Sockets::new(options)),
            metrics: metrics.clone(),
        }))
    }

    /// Forgets, until `stop`, who asks no more, so that memory follows those who ask now.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            for rate in self.0.rates.all() {
                rate.sweep();
            }
        }
    }

    /// Counts a request over HTTP, whatever it asks, before anything of it is parsed.
    ///
    /// # Errors
    /// `rate_limited`, as for all of these.
    pub fn request(&self, address: Option<IpAddr>) -> Result<()> {
        let rates = &self.0.rates;
        self.check(address, |address| {
            rates.address_requests.count(address, 1)?;
            rates.all_requests.count((), 1)
        })
    }

    /// Counts a registration.
    pub fn registration(&self, address: Option<IpAddr>) -> Result<()> {
        let rates = &self.0.rates;
        self.check(address, |address| {
            rates.registrations.count(address, 1)?;
            rates.all_registrations.count((), 1)
        })
    }

    /// Counts an attempt to log in.
    pub fn login(&self, address: Option<IpAddr>) -> Result<()> {
        let rates = &self.0.rates;
        self.check(address, |address| {
            rates.logins.count(address, 1)?;
            rates.all_logins.count((), 1)
        })
    }

    /// Counts a send, before it is known whether its user may send there.
    pub fn message(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.messages, 1)
    }

    /// Counts a send of a user who may: nobody else spends what the members of a group share.
    pub fn group_message(&self, asker: Asker, group: GroupId) -> Result<()> {
        let rates = &self.0.rates;
        self.check(asker.address, |_| {
            rates.group_messages.count(group, 1)?;
            rates.all_messages.count((), 1)
        })
    }

    /// Counts the making of a group.
    pub fn group(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.groups, 1)
    }

    /// Counts the adding of `people` to a group.
    pub fn additions(&self, asker: Asker, people: usize) -> Result<()> {
        let people = u32::try_from(people).unwrap_or(u32::MAX);
        self.check_user(asker, &self.0.rates.additions, people)
    }

    /// Counts a read mark.
    pub fn read(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.reads, 1)
    }

    /// Counts a page of a log, or a pull.
    pub fn page(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.pages, 1)
    }

    /// Counts a `hello` or a `follow`.
    pub fn follow(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.follows, 1)
    }

    /// Counts whatever else a user asks.
    pub fn other(&self, asker: Asker) -> Result<()> {
        self.check_user(asker, &self.0.rates.requests, 1)
    }

    /// A place for a socket that has not said `hello`; `None` where no limit is kept.
    pub fn socket(&self, address: Option<IpAddr>) -> Result<Option<Place>> {
        let Some(address) = self.limited(address) else {
            return Ok(None);
        };
        let taken = Sockets::take(&self.0.sockets, rate::network(address));
        taken.map(Some).map_err(|full| {
            self.note(full.name, address);
            Error {
                retry_after_ms: Some(sockets::RETRY_AFTER_MS),
                ..Error::new(ErrorCode::RateLimited, full.to_string())
            }
        })
    }

    fn check_user(&self, asker: Asker, rate: &Rate<UserId>, amount: u32) -> Result<()> {
        self.check(asker.address, |_| rate.count(asker.user, amount))
    }

    fn check(
        &self,
        address: Option<IpAddr>,
        count: impl FnOnce(IpAddr) -> std::result::Result<(), Exceeded>,
    ) -> Result<()> {
        let Some(address) = self.limited(address) else {
            return Ok(());
        };
        count(rate::network(address)).map_err(|exceeded| {
            self.note(exceeded.policy.name, address);
            refusal(exceeded)
        })
    }

    /// The address, if limits concern it.
    fn limited(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.filter(|address| self.0.enabled && !self.0.exempt.covers(*address))
    }

    fn note(&self, limit: &str, address: IpAddr) {
        self.0.metrics.refused.with_label_values(&[limit]).inc();
        tracing::debug!(limit, %address, "refused by a limit");
    }
}

fn refusal(Exceeded { policy, wait }: Exceeded) -> Error {
    let Policy {
        name,
        quota,
        window_s,
    } = &policy;
    let detail = format!("more than {quota} within {window_s} s ({name})");
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Error {
        // Rounded up: who comes back after the time that was told is let in.
        retry_after_ms: Some(wait.saturating_add(1)),
        exceeded: Some(Box::new(policy)),
        ..Error::new(ErrorCode::RateLimited, detail)
    }
}

/// Every rate that is kept.
struct Rates {
    registrations: Rate<IpAddr>,
    all_registrations: Rate<()>,
    logins: Rate<IpAddr>,
    all_logins: Rate<()>,
    messages: Rate<UserId>,
    group_messages: Rate<GroupId>,
    all_messages: Rate<()>,
    groups: Rate<UserId>,
    additions: Rate<UserId>,
    reads: Rate<UserId>,
    pages: Rate<UserId>,
    follows: Rate<UserId>,
    requests: Rate<UserId>,
    address_requests: Rate<IpAddr>,
    all_requests: Rate<()>,
}

impl Rates {
    fn new(options: &Options) -> Self {
        /// A rate under the name of its key.
        macro_rules! rate {
            ($per:ident $key:ident) => {
                Rate::$per(stringify!($key), options.$key)
            };
        }
        Self {
            registrations: rate!(per_hour registrations_per_hour),
            all_registrations: rate!(per_hour registrations_per_hour_global),
            logins: rate!(per_minute logins_per_minute),
            all_logins: rate!(per_minute logins_per_minute_global),
            messages: rate!(per_second messages_per_second),
            group_messages: rate!(per_second messages_per_second_group),
            all_messages: rate!(per_second messages_per_second_global),
            groups: rate!(per_hour groups_per_hour),
            additions: rate!(per_hour additions_per_hour),
            reads: rate!(per_second reads_per_second),
            pages: rate!(per_second pages_per_second),
            follows: rate!(per_second follows_per_second),
            requests: rate!(per_second requests_per_second),
            address_requests: rate!(per_second requests_per_second_address),
            all_requests: rate!(per_second requests_per_second_global),
        }
    }

    fn all(&self) -> [&dyn Sweep; 15] {
        [
            &self.registrations,
            &self.all_registrations,
            &self.logins,
            &self.all_logins,
            &self.messages,
            &self.group_messages,
            &self.all_messages,
            &self.groups,
            &self.additions,
            &self.reads,
            &self.pages,
            &self.follows,
            &self.requests,
            &self.address_requests,
            &self.all_requests,
        ]
    }
}
