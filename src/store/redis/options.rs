//! Options of the Redis stores.

use std::time::Duration;

/// How to use a Redis.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many connections carry appends, 1 to 64. All appends of one group take the same one,
    /// so that they keep their order; more connections let Redis answer more of them at once.
    pub connections: usize,
    /// How long an answer may take, in milliseconds. After it the outcome is unknown.
    pub response_timeout_ms: u64,
    /// How long the making of a connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a process that died keeps its partitions, in milliseconds; leases are renewed
    /// three times as often.
    pub lease_ms: u64,
    /// After how long without an event a group counts as idle, in milliseconds: its stream is
    /// emptied then, and its history served by the message store.
    pub idle_ms: u64,
    /// How full Redis may be, in percent of its memory, 1 to 100: above it appends are refused
    /// until the consumers have caught up.
    pub full_percent: u8,
    /// A file with the authorities, in PEM, that Redis' certificate must be signed by when its
    /// address begins with `rediss`. Empty: those that the system trusts.
    pub tls_ca: String,
    /// Whether the operator has seen that `appendfsync` is `always`. Without it a Redis is refused
    /// whose user may not read settings.
    pub appendfsync_assured: bool,
    /// Whether to run on a Redis that does not sync each append to its disk. What such a server
    /// said was accepted is lost when it crashes.
    pub allow_data_loss: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 4,
            response_timeout_ms: 5_000,
            connect_timeout_ms: 2_000,
            lease_ms: 10_000,
            idle_ms: 600_000,
            full_percent: 85,
            tls_ca: String::new(),
            appendfsync_assured: false,
            allow_data_loss: false,
        }
    }
}

impl Options {
    pub(super) const fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout_ms)
    }

    pub(super) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}
