//! Qunliu (群流): an open, self-hosted group-chat server.

pub mod protocol; // what crosses a socket
pub mod egress; // the push path
pub mod ingress; // everything a client calls
