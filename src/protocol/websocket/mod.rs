//! RFC 6455 framing as pure functions over bytes.
//!
//! Shared by both directions: `ingress` parses what clients send, `egress` sends what is encoded
//! here. Nothing in this folder reads, writes, waits or keeps state between calls.

pub mod header; // the 2-14 bytes before each payload
pub mod mask; // XOR with the client's key
pub mod close; // close codes and the payload of a close frame
pub mod encode; // whole frames from server to client
