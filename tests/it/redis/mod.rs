//! What only Redis can do to us, shown on real servers: crashes, promotions, deleted keys, other
//! processes, unsafe settings.

mod consumers;
mod epochs;
mod memory;
mod signals;
mod start;
mod tail;
