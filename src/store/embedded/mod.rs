//! The default backend: this process and one SQLite file.
//!
//! Every write of a group goes through [`writer`], which commits what waits together; reads go
//! past it. What an append wrote is at once the live log's entry and the stored message, so
//! `accepted` and `stored` are the same commit.

pub mod cards;
pub mod consumers;
pub mod database;
pub mod dead_letters;
pub mod directory;
pub mod epochs;
pub mod examine;
pub mod log;
pub mod messages;
pub mod signals;
pub mod stores;
pub mod unread;

mod append;
mod batch;
mod doorbell;
mod events;
mod log_rows;
mod offsets;
mod opening;
mod presence;
mod progress;
mod record;
mod rows;
mod tail;
mod writer;
