//! The configuration: `config.toml` of the source tree holds every key with its default and is
//! built in; a file, the environment and the command line are laid over it, in this order.
//!
//! In: text. Out: one validated [`Config`], made of the option structs of the folders that use
//! them. A key that does not exist, a value of another type and a value out of its bounds are
//! refused by the key's name; a value is never echoed, for it may be a secret. Nothing else
//! reads the environment.
//!
//! To add a key: a field in the options struct of its folder, one commented line in
//! `config.toml`, and its bounds in `validate.rs`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ingress::forwarded::Proxies;
use crate::ingress::limit::exempt::Exempt;
use crate::{access, egress, ingress, pipeline, store, traces};

mod layer; // one table over another, by the built-in one's keys and types
mod validate; // bounds

pub use layer::Environment;

/// Every key with its default: the one place where defaults stand.
const REFERENCE: &str = include_str!("../config.toml");

/// A valid configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[tracing]`
    pub tracing: traces::Options,
    /// `[stores]`
    pub stores: Stores,
    /// `[http]`
    pub http: ingress::listen::Options,
    /// `[auth]`
    pub auth: ingress::auth::Options,
    /// `[access]`
    pub access: access::Options,
    /// `[redis]`
    pub redis: store::redis::options::Options,
    /// `[mongodb]`
    pub mongodb: store::mongo::connect::Options,
    /// `[postgres]`
    pub postgres: store::postgres::replicas::Options,
    /// `[egress]`, with `sockets_per_user` from `[limits]`.
    pub egress: egress::Options,
    /// `[groups]`
    pub groups: pipeline::commands::members::Options,
    /// `[limits]`
    pub limits: ingress::limit::options::Options,
}

/// Where the server listens and keeps its files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin_listen: SocketAddr,
    /// Whether that may be beyond this machine: it is served in plain text.
    pub admin_insecure: bool,
    /// The folder for what the server itself keeps.
    pub data: PathBuf,
    /// How long a stop waits for what is under way, in seconds; at most an hour.
    pub drain_s: u64,
}

/// What is logged to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// In the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// How.
    pub format: LogFormat,
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person.
    Text,
    /// A JSON object, for programs.
    Json,
}

/// Addresses of stores; empty means embedded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stores {
    /// The live logs.
    pub redis: Secret,
    /// The history.
    pub mongodb: Secret,
    /// People and groups.
    pub postgres: Secret,
    /// Read replicas of it.
    pub postgres_replicas: Vec<Secret>,
}

/// Text that is never printed: an address may hold a password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the driver that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "unset" } else { "set" })
    }
}

/// Which backends serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backends {
    /// This process and one SQLite file in the data folder.
    Embedded,
    /// All three services.
    Services,
}

/// Whether a text is an address of some store.
type IsAddress = fn(&str) -> bool;

impl Stores {
    /// The key of an address that is none, and what one looks like. Nothing of it is told: it may
    /// hold a password.
    fn misshapen(&self) -> Option<(&'static str, &'static str)> {
        let redis = "redis://user:password@host:6379";
        let mongodb = "mongodb://user:password@host/database?replicaSet=name";
        let postgres = "postgres://user:password@host/database";
        let is_postgres: IsAddress = store::postgres::database::is_address;
        let replica = |address| ("stores.postgres_replicas", address, postgres, is_postgres);
        let replicas = self.postgres_replicas.iter().map(replica);
        let all: [(_, _, _, IsAddress); 3] = [
            (
                "stores.redis",
                &self.redis,
                redis,
                store::redis::stores::is_address,
            ),
            (
                "stores.mongodb",
                &self.mongodb,
                mongodb,
                store::mongo::connect::is_address,
            ),
            ("stores.postgres", &self.postgres, postgres, is_postgres),
        ];
        let mut all = all.into_iter().chain(replicas);
        let found = all.find(|(_, address, _, is_address)| !is_address(address.reveal()));
        found.map(|(key, _, form, _)| (key, form))
    }

    /// The backends that the addresses ask for; `None` if only some of them are given.
    pub fn backends(&self) -> Option<Backends> {
        let given = [&self.redis, &self.mongodb, &self.postgres];
        match given.iter().filter(|url| !url.0.is_empty()).count() {
            0 => Some(Backends::Embedded),
            3 => Some(Backends::Services),
            _ => None,
        }
    }
}

/// Why a configuration is refused. Names keys, never values.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says; it quotes nothing of the file.
        message: String,
    },
    /// There is no such key.
    #[error("{origin}: there is no key `{key}`{}", nearest.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it was set.
        origin: String,
        /// The key, as in `server.listen`.
        key: String,
        /// The key that looks most like it.
        nearest: Option<String>,
    },
    /// The value is of another type, or out of its bounds.
    #[error("`{key}` {detail}")]
    Invalid {
        /// The key, as in `server.listen`.
        key: String,
        /// What it must be.
        detail: String,
    },
}

/// What the command line sets.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `server.listen`
    pub listen: Option<String>,
    /// `server.admin_listen`
    pub admin_listen: Option<String>,
    /// `server.data`
    pub data: Option<String>,
}

impl Config {
    /// The built-in defaults under `file`, under `environment`, under `flags`.
    ///
    /// # Errors
    /// The first key that is unknown, of another type or out of its bounds.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut layers = layer::Layers::reference();
        if let Some(path) = file {
            layers.lay_file(path)?;
        }
        layers.lay_environment(environment)?;
        layers.lay_flags(flags)?;
        let mut config: Self = layers.read()?;
        validate::check(&config)?;
        config.egress.sockets_per_user = match config.limits.enabled {
            true => config.limits.sockets_per_user,
            false => usize::MAX,
        };
        Ok(config)
    }
}

impl Config {
    /// Whether others than this machine's own users reach the server, be it through a proxy.
    pub fn is_public(&self) -> bool {
        !self.server.listen.ip().is_loopback() || !self.http.proxies.is_empty()
    }

    /// Whether clients are served in plain text beyond this machine, with no proxy before it.
    pub fn is_exposed(&self) -> bool {
        let is_sealed = !self.http.tls_cert.is_empty() || !self.http.proxies.is_empty();
        !self.server.listen.ip().is_loopback() && !is_sealed
    }

    /// The proxies that are believed.
    pub fn proxies(&self) -> Proxies {
        let proxies = Proxies::parse(&self.http.proxies, self.http.proxy_header);
        proxies.expect("validate.rs has parsed them")
    }

    /// Whom limits leave alone.
    pub fn exempt(&self) -> Exempt {
        let exempt = Exempt::parse(&self.limits.exempt, !self.http.proxies.is_empty());
        exempt.expect("validate.rs has parsed it")
    }
}

#[cfg(test)]
mod tests;
