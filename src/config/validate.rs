//! Bounds of the values, and what they must be to each other.

use std::ops::RangeInclusive;

use super::{Backends, Config, ConfigError};
use crate::ingress::forwarded::Proxies;
use crate::ingress::limit::exempt::Exempt;
use crate::ingress::origin::is_origin;
use crate::traces;

/// Checks that each key lies within its bounds, which are all here.
macro_rules! bounds {
    ($config:ident: $($section:ident.$key:ident in $bounds:expr,)+) => {
        $(within(
            concat!(stringify!($section), ".", stringify!($key)),
            $config.$section.$key,
            $bounds,
        )?;)+
    };
}

/// Checks what the types do not say.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    bounds! { config:
        server.drain_s in 0..=3600,
        tracing.sample_percent in 0..=100,
        http.connections_max in 1..=1_000_000,
        http.head_s_max in 1..=3600,
        http.body_s_max in 1..=3600,
        auth.access_s in 1..=900,
        auth.session_days in 1..=3650,
        auth.hashes_at_once in 1..=64,
        auth.hashes_waiting_max in 0..=10_000,
        groups.members_max in 201..=1_000_000,
        access.cache_entries_max in 1..=100_000_000,
        access.cache_age_s_max in 1..=60,
        redis.connections in 1..=64,
        redis.connect_timeout_ms in 100..=60_000,
        redis.response_timeout_ms in 100..=60_000,
        redis.full_percent in 1..=100,
        redis.idle_ms in 1..=86_400_000,
        redis.lease_ms in 1_000..=300_000,
        mongodb.pool_connections_max in 1..=10_000,
        mongodb.selection_ms_max in 100..=60_000,
        mongodb.call_ms_max in 100..=300_000,
        postgres.replica_lag_ms_max in 500..=60_000,
        egress.heartbeat_s in 1..=300,
        // A page, or a resume of the usual size, must fit.
        egress.queue_bytes_max in 1 << 20..=1 << 30,
        egress.slow_reader_s in 1..=3600,
        egress.resume_events_max in 0..=100_000,
        egress.resume_bytes_max in 0..=1 << 28,
        egress.signals_members_max in 0..=500,
        egress.signals_per_second_max in 0..=1_000_000,
        egress.offline_after_s in 0..=300,
        egress.cold_arrivals_max in 1..=10_000,
        egress.cold_arrivals_per_second in 1..=1_000_000,
        limits.sockets_per_user in 1..=1000,
        limits.sockets_per_address in 1..=1_000_000,
        limits.sockets_waiting_per_address in 1..=1_000_000,
    }
    proxies(config)?;
    origins(config)?;
    tls(config)?;
    stores(config)?;
    limits(config)?;
    log(&config.log.level)?;
    tracing(&config.tracing)
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

fn origins(config: &Config) -> Result<(), ConfigError> {
    match config.http.origins.iter().all(|text| is_origin(text)) {
        true => Ok(()),
        false => Err(invalid(
            "http.origins",
            "must list sites as browsers name them, as in \"https://shop.example\", with no path",
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
    if !config.server.admin_listen.ip().is_loopback() && !config.server.admin_insecure {
        return Err(invalid(
            "server.admin_listen",
            "would show operators' figures to a network in plain text: keep it on loopback, or, \
             in a network of your own, set server.admin_insecure = true",
        ));
    }
    Ok(())
}

fn stores(config: &Config) -> Result<(), ConfigError> {
    let replicas = &config.stores.postgres_replicas;
    match config.stores.backends() {
        None => {
            return Err(invalid(
                "stores",
                "needs all of redis, mongodb and postgres, or none of them for embedded stores",
            ));
        }
        Some(Backends::Embedded) if replicas.is_empty() => return Ok(()),
        Some(Backends::Embedded) => {
            return Err(invalid(
                "stores.postgres_replicas",
                "are replicas of `stores.postgres`, which is not set",
            ));
        }
        Some(Backends::Services) => {}
    }
    match config.stores.misshapen() {
        None => Ok(()),
        Some((key, form)) => Err(invalid(
            key,
            &format!(
                "is no address as in {form}; special characters of a password are \
                 percent-encoded, `@` as %40, `?` as %3F"
            ),
        )),
    }
}

fn limits(config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    if !limits.enabled && config.is_public() {
        return Err(invalid(
            "limits.enabled",
            "may be false on a loopback listener without a proxy only",
        ));
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
    Ok(())
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
