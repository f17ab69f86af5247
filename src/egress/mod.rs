//! The push path: from the log to the sockets.
//!
//! The [`tail`] reads what is appended to the groups that somebody here listens to, encodes it
//! once, and the [`hub`] hands the same frame to every socket. What a socket missed is worked out
//! in [`recovery`]; who waits for `stored` is known to [`receipts`]. Never decides who may do
//! what: a user's groups come from the directory, and an event that ends a membership ends the
//! pushing behind it.

pub mod hub; // who listens to what on this node
pub mod group; // one group that somebody here listens to
pub mod socket; // one client, as the push path sees it
pub mod tail; // from the log to the hub
pub mod attach; // a socket arrives, joins, follows
pub mod admission; // cold arrivals come in at a rate
pub mod own_groups; // what a user is, and where the user stands
pub mod recovery; // what a socket missed
mod missed; // read and encoded once for all who come back
pub mod receipts; // who waits for `stored`
pub mod nudges; // signals from other nodes
pub mod presence; // who is here
pub mod hints; // what is told in passing, on its way out
pub mod hearing; // and from all nodes to the sockets here
pub mod revocations; // ends of sessions reach this node
pub mod heartbeat; // signs of life in both directions
mod tally; // how the sockets of this node are, for operators
pub mod overview; // a user's groups with heads, counts and last messages
pub mod send_queue; // what one connection still has to be sent
mod outlet; // its socket and its backlog, under the queue's lock
mod backlog; // the frames that the socket did not take at once

/// Options of this folder.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Seconds between heartbeats; a client that saw nothing for 2.2 times as long reconnects.
    pub heartbeat_s: u64,
    /// Bytes that a socket's queue holds at most before pushes are dropped and `resync` is sent.
    pub queue_bytes_max: usize,
    /// Seconds a socket may take nothing at all before it is closed with 4408.
    pub slow_reader_s: u64,
    /// Missed events sent to one resuming socket at most, over all its groups.
    pub resume_events_max: usize,
    /// Missed bytes sent to one resuming socket at most, over all its groups.
    pub resume_bytes_max: usize,
    /// Members of a group up to which they are told in passing who of them types, comes and goes;
    /// at most [`crate::store::presence::USERS_MAX`], 0 for never.
    pub signals_members_max: u64,
    /// Frames a second that are pushed for that on this node.
    pub signals_per_second_max: usize,
    /// Seconds without a socket after which somebody is offline.
    pub offline_after_s: u64,
    /// Arrivals at once that ask the directory and the message store because there is no card; of
    /// what is beyond, each is told when to come back. Embedded stores have no cards and no limit.
    pub cold_arrivals_max: u32,
    /// Such arrivals a second.
    pub cold_arrivals_per_second: u32,
    /// Sockets of one user on this node; one more closes the oldest with 4409. Stands in
    /// `[limits]`.
    #[serde(skip)]
    pub sockets_per_user: usize,
}
