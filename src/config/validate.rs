//! Bounds of the values, and what they must be to each other.

use std::ops::RangeInclusive;

use super::{Backends, Config, ConfigError};
use crate::egress;
use crate::ingress::forwarded::Proxies;
use crate::ingress::limit::exempt::Exempt;
use crate::traces;

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
        "groups.members_max",
        config.groups.members_max,
        201..=1_000_000,
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
    proxies(config)?;
    tls(config)?;
    stores(config)?;
    egress(&config.egress)?;
    limits(config)?;
    log(&config.log.level)?;
    tracing(&config.tracing)?;
    match config.stores.backends() {
        Some(_) => Ok(()),
        None => Err(invalid(
            "stores",
            "needs all of redis, mongodb and postgres, or none of them for embedded stores",
        )),
    }
}

fn proxies(config: &Config) -> Result<(), ConfigError> {
    match Proxies::parse(&config.http.proxies, config.http.proxy_header) {
        Some(_) => Ok(()),
        None => Err(invalid(
            "http.proxies",
            "must list addresses or networks as in \"10.0.0.0/8\"",
        )),
    }
}

fn tls(config: &Config) -> Result<(), ConfigError> {
    let http = &config.http;
    if http.tls_cert.is_empty() != http.tls_key.is_empty() {
        return Err(invalid(
            "http.tls_cert",
            "and `http.tls_key` are set both or not at all",
        ));
    }
    if config.is_exposed() && !http.insecure {
        return Err(invalid(
            "server.listen",
            "would let passwords and messages cross the network in plain text: set http.tls_cert \
             and http.tls_key, or name the proxy that ends TLS before this server in \
             http.proxies, or, in a network of your own, set http.insecure = true",
        ));
    }
    Ok(())
}

fn stores(config: &Config) -> Result<(), ConfigError> {
    let (redis, mongodb) = (&config.redis, &config.mongodb);
    within("redis.connections", redis.connections, 1..=64)?;
    within(
        "redis.response_timeout_ms",
        redis.response_timeout_ms,
        100..=60_000,
    )?;
    within("redis.full_percent", redis.full_percent, 1..=100)?;
    within("redis.idle_ms", redis.idle_ms, 1..=86_400_000)?;
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
    within("mongodb.call_ms_max", mongodb.call_ms_max, 100..=300_000)?;
    within(
        "postgres.replica_lag_ms_max",
        config.postgres.replica_lag_ms_max,
        500..=60_000,
    )?;
    if config.stores.backends() == Some(Backends::Embedded)
        && !config.stores.postgres_replicas.is_empty()
    {
        return Err(invalid(
            "stores.postgres_replicas",
            "are replicas of `stores.postgres`, which is not set",
        ));
    }
    Ok(())
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
    )?;
    within(
        "egress.signals_members_max",
        options.signals_members_max,
        0..=500,
    )?;
    within(
        "egress.signals_per_second_max",
        options.signals_per_second_max,
        0..=1_000_000,
    )?;
    within("egress.offline_after_s", options.offline_after_s, 0..=300)?;
    within(
        "egress.cold_arrivals_max",
        options.cold_arrivals_max,
        1..=10_000,
    )?;
    within(
        "egress.cold_arrivals_per_second",
        options.cold_arrivals_per_second,
        1..=1_000_000,
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
    for (key, count) in [
        ("limits.sockets_per_address", limits.sockets_per_address),
        (
            "limits.sockets_waiting_per_address",
            limits.sockets_waiting_per_address,
        ),
    ] {
        within(key, count, 1..=1_000_000)?;
    }
    for (key, number, least) in limits.rates() {
        within(&format!("limits.{key}"), number, least..=1_000_000)?;
    }
    match Exempt::parse(&limits.exempt, false) {
        Some(_) => Ok(()),
        None => Err(invalid(
            "limits.exempt",
            "must list \"loopback\", addresses or networks as in \"10.0.0.0/8\"",
        )),
    }
}

fn log(filter: &str) -> Result<(), ConfigError> {
    match tracing_subscriber::EnvFilter::try_new(filter) {
        Ok(_) => Ok(()),
        Err(_) => Err(invalid("log.level", "is not a log filter, as \"info\" is")),
    }
}

fn tracing(options: &traces::Options) -> Result<(), ConfigError> {
    let endpoint = &options.otlp_endpoint;
    if !endpoint.is_empty() && !endpoint.starts_with("http://") {
        return Err(invalid(
            "tracing.otlp_endpoint",
            "must begin with \"http://\", or be empty",
        ));
    }
    within("tracing.sample_percent", options.sample_percent, 0..=100)
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
