//! The write path: commands append to the logs, consumers carry the logs to the stores.
//!
//! Commands and consumers meet only in the log; neither knows the sockets. What both need, the
//! raising of fences and the re-opening of logs, is in [`reopen`]. [`ages`], [`restored`] and [`mend`]
//! are for a message store that is older than it was.

pub mod ages;
pub mod append;
pub mod commands;
pub mod consumers;
pub mod fences;
pub mod mend;
pub mod outbox;
pub mod policy;
pub mod reopen;
pub mod replay;
pub mod restored;
pub mod runner;
mod totals; // counted from the history
pub mod unsettled;
