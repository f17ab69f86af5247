//! Everything a client calls.

pub mod socket; // the WebSocket transport
