//! The keys of `[limits]`. A key that says how many *per second* is the steady rate; three
//! seconds' worth may come at once. Per minute and per hour, all of it may.

use serde::Deserialize;

/// Options of the limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whether limits of rate and number are kept.
    pub enabled: bool,
    /// Whom they leave alone: `loopback` (unless a proxy is declared), addresses, networks.
    pub exempt: Vec<String>,
    /// Sockets of one user on this node.
    pub sockets_per_user: usize,
    /// Sockets from one address.
    pub sockets_per_address: usize,
    /// Of these, sockets that have not said `hello`.
    pub sockets_waiting_per_address: usize,
    /// Accounts made from one address.
    pub registrations_per_hour: u32,
    /// Accounts made in all.
    pub registrations_per_hour_global: u32,
    /// Attempts to log in from one address.
    pub logins_per_minute: u32,
    /// Attempts to log in, in all.
    pub logins_per_minute_global: u32,
    /// Messages of one user.
    pub messages_per_second: u32,
    /// Messages in one group.
    pub messages_per_second_group: u32,
    /// Messages in all.
    pub messages_per_second_global: u32,
    /// Groups made by one user.
    pub groups_per_hour: u32,
    /// People added to groups by one user.
    pub additions_per_hour: u32,
    /// Read marks of one user.
    pub reads_per_second: u32,
    /// Pages and pulls of one user.
    pub pages_per_second: u32,
    /// `hello` and `follow` of one user.
    pub follows_per_second: u32,
    /// Whatever else one user asks.
    pub requests_per_second: u32,
    /// Requests over HTTP from one address, of any kind.
    pub requests_per_second_address: u32,
    /// Requests over HTTP in all.
    pub requests_per_second_global: u32,
}

impl Options {
    /// Every rate with its key and its least value, for whoever checks bounds.
    pub const fn rates(&self) -> [(&'static str, u32, u32); 15] {
        /// As many as one call may add, so that no call is refused for ever.
        const ADDED_AT_ONCE: u32 = 200;
        [
            ("registrations_per_hour", self.registrations_per_hour, 1),
            (
                "registrations_per_hour_global",
                self.registrations_per_hour_global,
                1,
            ),
            ("logins_per_minute", self.logins_per_minute, 1),
            ("logins_per_minute_global", self.logins_per_minute_global, 1),
            ("messages_per_second", self.messages_per_second, 1),
            (
                "messages_per_second_group",
                self.messages_per_second_group,
                1,
            ),
            (
                "messages_per_second_global",
                self.messages_per_second_global,
                1,
            ),
            ("groups_per_hour", self.groups_per_hour, 1),
            ("additions_per_hour", self.additions_per_hour, ADDED_AT_ONCE),
            ("reads_per_second", self.reads_per_second, 1),
            ("pages_per_second", self.pages_per_second, 1),
            ("follows_per_second", self.follows_per_second, 1),
            ("requests_per_second", self.requests_per_second, 1),
            (
                "requests_per_second_address",
                self.requests_per_second_address,
                1,
            ),
            (
                "requests_per_second_global",
                self.requests_per_second_global,
                1,
            ),
        ]
    }
}
