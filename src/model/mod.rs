//! The vocabulary: plain data and pure functions, no I/O and nothing async.
//!
//! Every other folder speaks in these types. An identifier is parsed once, at the edge, and
//! travels inward as its newtype.

pub mod causes;
pub mod client_id;
pub mod digest;
pub mod epoch;
pub mod event;
pub mod group;
pub mod hint;
pub mod id;
pub mod merchant;
pub mod message;
pub mod name;
pub mod permission;
pub mod position;
pub mod role;
pub mod time;
pub mod trace;
pub mod unread;
pub mod user;
