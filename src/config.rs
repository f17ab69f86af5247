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

impl Stores {
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
mod tests {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, &Environment::of(pairs), &Flags::default())
    }

    fn load_file(text: &str) -> Result<Config, ConfigError> {
        let folder = std::env::temp_dir().join(format!("qunliu-config-{}", uuid::Uuid::new_v4()));
        std::fs::write(&folder, text).unwrap();
        let loaded = Config::load(Some(&folder), &Environment::default(), &Flags::default());
        std::fs::remove_file(&folder).unwrap();
        loaded
    }

    #[test]
    fn the_built_in_configuration_is_valid_and_embedded() {
        let config = load(&[]).unwrap();
        assert_eq!(config.stores.backends(), Some(Backends::Embedded));
        assert!(config.server.listen.ip().is_loopback());
    }

    #[test]
    fn what_stands_in_the_built_in_file_is_what_the_stores_default_to() {
        let config = load(&[]).unwrap();
        assert_eq!(config.redis, Default::default());
        assert_eq!(config.mongodb, Default::default());
    }

    #[test]
    fn the_environment_beats_the_file_and_flags_beat_both() {
        let environment = Environment::of(&[("QUNLIU_SERVER_LISTEN", "127.0.0.1:2")]);
        assert_eq!(
            load(&[("QUNLIU_SERVER_LISTEN", "127.0.0.1:2")])
                .unwrap()
                .server
                .listen
                .port(),
            2
        );
        let flags = Flags {
            listen: Some("127.0.0.1:3".to_owned()),
            ..Flags::default()
        };
        let config = Config::load(None, &environment, &flags).unwrap();
        assert_eq!(config.server.listen.port(), 3);
        let pairs = [
            ("QUNLIU_LIMITS_ENABLED", "false"),
            ("QUNLIU_LIMITS_EXEMPT", "loopback,10.0.0.1"),
        ];
        let config = load(&pairs).unwrap();
        assert!(!config.limits.enabled);
        assert_eq!(config.limits.exempt.len(), 2);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        for refused in [
            load(&[("QUNLIU_SERVER_LISTN", "127.0.0.1:2")]),
            load_file("[server]\nlistn = \"127.0.0.1:2\""),
        ] {
            let text = refused.unwrap_err().to_string();
            assert!(
                text.contains("`server.listn`") && text.contains("`server.listen`"),
                "{text}"
            );
        }
        let text = load_file("[sever]\nlisten = 1").unwrap_err().to_string();
        assert!(
            text.contains("`sever`") && text.contains("`server`"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_type_or_bound_names_the_key() {
        for (text, key) in [
            ("[server]\ndrain_s = \"long\"", "server.drain_s"),
            ("[server]\nlisten = \"here\"", "server.listen"),
            ("[server]\ndrain_s = -1", "server.drain_s"),
            ("[auth]\naccess_s = 901", "auth.access_s"),
            ("[limits]\nexempt = [1]", "limits.exempt"),
            ("[log]\nlevel = \"a=b=c\"", "log.level"),
            ("[log]\nformat = \"xml\"", "log.format"),
            ("[tracing]\nsample_percent = 101", "tracing.sample_percent"),
            (
                "[tracing]\notlp_endpoint = \"https://c\"",
                "tracing.otlp_endpoint",
            ),
            ("server = 1", "server"),
        ] {
            let refused = load_file(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}`")), "{text}: {refused}");
        }
        let refused = load(&[("QUNLIU_SERVER_DRAIN_S", "1s")])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("`server.drain_s`"), "{refused}");
    }

    #[test]
    fn some_but_not_all_stores_are_refused_and_no_secret_is_echoed() {
        let refused = load(&[("QUNLIU_STORES_REDIS", "redis://:hunter2@h")]).unwrap_err();
        assert!(refused.to_string().contains("`stores`"));
        assert!(!refused.to_string().contains("hunter2"));
        let refused = load_file("[stores]\nredis = \"redis://:hunter2@h\" nonsense").unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
        let all = [
            ("QUNLIU_STORES_REDIS", "redis://:hunter2@h"),
            ("QUNLIU_STORES_MONGODB", "mongodb://h/q"),
            ("QUNLIU_STORES_POSTGRES", "postgres://h/q"),
        ];
        let config = load(&all).unwrap();
        assert_eq!(config.stores.backends(), Some(Backends::Services));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn limits_cannot_be_turned_off_on_a_public_listener() {
        let pairs = [
            ("QUNLIU_LIMITS_ENABLED", "false"),
            ("QUNLIU_HTTP_INSECURE", "true"),
            ("QUNLIU_SERVER_LISTEN", "0.0.0.0:1"),
        ];
        assert!(
            load(&pairs)
                .unwrap_err()
                .to_string()
                .contains("`limits.enabled`")
        );
    }

    /// Lines as a hurried hand writes them: known and unknown tables and keys, good and bad values.
    fn lines() -> impl Strategy<Value = String> {
        let table = prop_oneof![
            "\\[(server|stores|http|auth|limits|redis)\\]",
            "\\[[a-z]{1,8}\\]"
        ];
        let key = prop_oneof![
            "(listen|redis|access_s|enabled|exempt|lease_ms)",
            "[a-z_]{1,10}"
        ];
        let value = prop_oneof![
            Just("true".to_owned()),
            "-?[0-9]{1,20}",
            "\"[a-z0-9:./]{0,20}\"",
            Just("[\"loopback\"]".to_owned()),
            ".{0,10}",
        ];
        let pair = (key, value).prop_map(|(key, value)| format!("{key} = {value}"));
        let line = prop_oneof![1 => table, 3 => pair];
        proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #[test]
        fn any_file_is_taken_or_refused_with_a_reason(text in lines()) {
            if let Err(error) = load_file(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn no_address_of_a_store_is_echoed(name in "[a-z]{1,12}") {
            let url = format!("redis://:hunter2@{name}/");
            let error = load(&[("QUNLIU_STORES_REDIS", &url)]).unwrap_err();
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn plain_text_beyond_loopback_is_a_decision() {
        let beyond = ("QUNLIU_SERVER_LISTEN", "0.0.0.0:1");
        let refused = load(&[beyond]).unwrap_err().to_string();
        assert!(refused.contains("`server.listen`"), "{refused}");
        for decision in [
            ("QUNLIU_HTTP_INSECURE", "true"),
            ("QUNLIU_HTTP_PROXIES", "10.0.0.0/8"),
        ] {
            assert!(load(&[beyond, decision]).is_ok(), "{decision:?}");
        }
    }

    #[test]
    fn networks_and_rates_have_bounds() {
        for (name, value, key) in [
            ("QUNLIU_HTTP_PROXIES", "10.0.0.0/33", "http.proxies"),
            ("QUNLIU_HTTP_PROXY_HEADER", "x-real-ip", "http.proxy_header"),
            ("QUNLIU_HTTP_TLS_CERT", "server.pem", "http.tls_cert"),
            ("QUNLIU_LIMITS_EXEMPT", "localhost", "limits.exempt"),
            (
                "QUNLIU_LIMITS_MESSAGES_PER_SECOND",
                "0",
                "limits.messages_per_second",
            ),
            (
                "QUNLIU_LIMITS_ADDITIONS_PER_HOUR",
                "199",
                "limits.additions_per_hour",
            ),
            (
                "QUNLIU_LIMITS_SOCKETS_PER_ADDRESS",
                "0",
                "limits.sockets_per_address",
            ),
        ] {
            let refused = load(&[(name, value)]).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{key}`")), "{name}: {refused}");
        }
    }
}
