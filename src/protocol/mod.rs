//! What crosses a socket: pure data and its encoding, no I/O, nothing async.

pub mod websocket; // RFC 6455 framing
