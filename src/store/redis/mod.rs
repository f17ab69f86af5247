//! The production log: Redis Streams. The only folder that names its driver.
//!
//! - [`stores`]: the way in: connects, refuses unsafe servers, hands out the traits; [`options`]
//! - [`log`], [`append`], [`reopen`], [`tail`]: the groups' live logs
//! - [`consumers`] over [`work`], [`leases`], [`keeper`]: who handles what, and who may
//! - [`idle`]: what nobody speaks in is emptied; [`memory`]: how full it is
//! - [`witness`]: what it was told of the message store; [`walk`]: over all keys, to mend that
//! - [`examine`]: what an operator is told of a server
//! - [`signals`]: nudges over Pub/Sub; [`presence`]: who is here, and hints; both hear by [`subscription`]
//! - [`functions/`](library): what must be atomic; [`entry`], [`keys`]: what is kept and where
//! - [`topology`]: which servers there are; [`links`] to them, [`bells`] and [`rings`] from them
//! - [`reply`], [`info`], [`fault`]: answers; [`backoff`]: when to try again
//!
//! Everything of a group is under keys of one hash tag, so that a function may touch them
//! together. Nobody blocks on a stream: doorbells are client tracking (dataflow.md, "One
//! doorbell").

mod append;
mod backoff;
mod bells;
mod cards;
mod check;
mod consumers;
mod entry;
mod fault;
mod idle;
mod info;
mod keeper;
mod keys;
mod leases;
mod links;
mod log;
mod presence;
mod reopen;
mod reply;
mod rings;
mod signals;
mod subscription;
mod tail;
mod topology;
mod walk;
mod witness;
mod work;

pub mod examine;
pub mod fitness;
pub mod library;
pub mod memory;
pub mod options;
pub mod stores;
