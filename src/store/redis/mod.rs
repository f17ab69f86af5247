//! The production log: Redis Streams. The only folder that names its driver.
//!
//! - [`stores`]: the way in: connects, refuses unsafe servers, hands out the traits; [`options`]
//! - [`log`], [`append`], [`reopen`], [`tail`]: the groups' live logs
//! - [`consumers`] over [`work`], [`leases`], [`keeper`]: who handles what, and who may
//! - [`signals`]: nudges over Pub/Sub
//! - [`functions.lua`](library): what must be atomic; [`entry`], [`keys`]: what is kept and where
//! - [`links`] over [`link`] and [`dial`], [`rings`]: connections; [`reply`], [`fault`]: answers
//!
//! Everything of a group is under keys of one hash tag, so that a function may touch them
//! together. Nobody blocks on a stream: doorbells are client tracking (dataflow.md, "One
//! doorbell").

mod append;
mod check;
mod consumers;
mod dial;
mod entry;
mod fault;
mod keeper;
mod keys;
mod leases;
mod library;
mod link;
mod links;
mod log;
mod reopen;
mod reply;
mod rings;
mod signals;
mod tail;
mod work;

pub mod options;
pub mod stores;
