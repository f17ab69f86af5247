//! What crosses a socket: frames in both directions and the error table. Pure; no I/O.

pub mod client;
pub mod code;
pub mod json;
pub mod server;
pub mod websocket;
