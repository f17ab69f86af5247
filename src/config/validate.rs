//! Bounds of the values, and what they must be to each other.

use std::ops::RangeInclusive;

use super::{Config, ConfigError};
use crate::egress;
use crate::ingress::limit::Exempt;

/// Checks what the types do not say.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    within("server.drain_s", config.server.drain_s, 0..=3600)?;
    within(
        "http.connections_max",
        config.http.connections_max,
        1..=1_000_000,
    )?;
    within("http.head_s_max", config.http.head_s_max, 1..=3600)?;
    within("http.body_s_max", config.http.body_s_max, 1..=3600)?;
    within("auth.access_s", config.auth.access_s, 1..=900)?;
    within("auth.session_days", config.auth.session_days, 1..=3650)?;
    within("auth.hashes_at_once", config.auth.hashes_at_once, 1..=64)?;
    within(
        "auth.hashes_waiting_max",
        config.auth.hashes_waiting_max,
        0..=10_000,
    )?;
    within(
        "access.cache_entries_max",
        config.access.cache_entries_max,
        1..=100_000_000,
    )?;
    within(
        "access.cache_age_s_max",
        config.access.cache_age_s_max,
        1..=60,
    )?;
    stores(config)?;
    egress(&config.egress)?;
    limits(config)?;
    log(&config.server.log)?;
    match config.stores.backends() {
        Some(_) => Ok(()),
        None => Err(invalid(
            "stores",
            "needs all of redis, mongodb and postgres, or none of them for embedded stores",
        )),
    }
}

fn stores(config: &Config) -> Result<(), ConfigError> {
    let (redis, mongodb) = (&config.redis, &config.mongodb);
    within("redis.connections", redis.connections, 1..=64)?;
    within(
        "redis.response_timeout_ms",
        redis.response_timeout_ms,
        100..=60_000,
    )?;
    within(
        "redis.connect_timeout_ms",
        redis.connect_timeout_ms,
        100..=60_000,
    )?;
    within("redis.lease_ms", redis.lease_ms, 1_000..=300_000)?;
    within(
        "mongodb.pool_connections_max",
        mongodb.pool_connections_max,
        1..=10_000,
    )?;
    within(
        "mongodb.selection_ms_max",
        mongodb.selection_ms_max,
        100..=60_000,
    )?;
    within("mongodb.call_ms_max", mongodb.call_ms_max, 100..=300_000)
}

fn egress(options: &egress::Options) -> Result<(), ConfigError> {
    within("egress.heartbeat_s", options.heartbeat_s, 1..=300)?;
    // A page, or a resume of the usual size, must fit.
    within(
        "egress.queue_bytes_max",
        options.queue_bytes_max,
        1 << 20..=1 << 30,
    )?;
    within("egress.slow_reader_s", options.slow_reader_s, 1..=3600)?;
    within(
        "egress.resume_events_max",
        options.resume_events_max,
        0..=100_000,
    )?;
    within(
        "egress.resume_bytes_max",
        options.resume_bytes_max,
        0..=1 << 28,
    )
}

fn limits(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    if !limits.enabled && !config.server.listen.ip().is_loopback() {
        return Err(invalid(
            "limits.enabled",
            "may be false on a loopback listener only",
        ));
    }
    within("limits.sockets_per_user", limits.sockets_per_user, 1..=1000)?;
    within(
        "limits.registrations_per_hour",
        limits.registrations_per_hour,
        1..=1_000_000,
    )?;
    within(
        "limits.logins_per_minute",
        limits.logins_per_minute,
        1..=1_000_000,
    )?;
    match Exempt::parse(&limits.exempt) {
        Some(_) => Ok(()),
        None => Err(invalid(
            "limits.exempt",
            "must list \"loopback\" or IP addresses",
        )),
    }
}

fn log(filter: &str) -> Result<(), ConfigError> {
    match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid("server.log", "is not a log filter, as \"info\" is")),
    }
}

fn within<N>(key: &str, value: N, bounds: RangeInclusive<N>) -> Result<(), ConfigError>
where
    N: Copy + PartialOrd + std::fmt::Display,
{
    let (least, most) = bounds.into_inner();
    if least <= value && value <= most {
        return Ok(());
    }
    Err(invalid(key, &format!("must be {least} to {most}")))
}

fn invalid(key: &str, detail: &str) -> ConfigError {
    ConfigError::Invalid {
        key: key.to_owned(),
        detail: detail.to_owned(),
    }
}
