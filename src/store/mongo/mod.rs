//! The production message store: MongoDB 6.0 or newer as a replica set. The only folder that
//! names its driver.
//!
//! What comes in are the traits' plain types, what goes out are documents as [`layout`] lists
//! them. Every write is `w:majority, j:true`, every read is a majority read from the primary,
//! and every call ends within a deadline (GUARANTEES.md).
//!
//! What a query may look like depends on its collection. In a collection that is clustered on
//! `_id` one range is as cheap as can be, but `$in`, `$or` and `$lookup` read all of it (tried
//! on 6.0.5: 5.6 s for 500 ranges in 50,000 documents; 22 ms in a plain collection). So the
//! clustered ones (events, cursors) are only ever asked for one range or one document at a time.
//!
//! To add a collection: its row and its fields in [`layout`], its creation in [`connect`].

pub mod connect;
pub mod examine;

mod database;
mod dead_letters;
mod epochs;
mod failure;
mod fences;
mod field;
mod fitness;
mod insert;
mod key;
mod layout;
mod learn;
mod messages;
mod unread;
