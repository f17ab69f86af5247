//! What only Redis can do to us, shown on real servers: crashes, promotions, deleted keys, other
//! processes, unsafe settings.

mod cards;
mod cluster;
mod consumers;
mod epochs;
mod fitness;
mod memory;
mod presence;
mod sentinel;
mod signals;
mod start;
mod tail;
mod tls;
mod trimming;
mod witness;
