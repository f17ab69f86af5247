//! The write path: commands append to the logs, consumers carry the logs to the stores.
//!
//! Commands and consumers meet only in the log; neither knows the sockets. What both need, the
//! raising of fences and the re-opening of logs, is in [`reopen`].

pub mod append;
pub mod commands;
pub mod consumers;
pub mod fences;
pub mod outbox;
pub mod reopen;
pub mod runner;
