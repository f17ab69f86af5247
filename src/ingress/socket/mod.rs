//! The WebSocket transport: from an HTTP upgrade to whole messages, and back to a closed socket.
//!
//! A route validates the request with [`handshake`], answers 101, and its task takes the raw stream
//! out of hyper with [`upgrade`]. From then on [`reader`] turns bytes into items; what goes out is
//! encoded by `protocol::websocket` and sent through `egress::send_queue`; [`closing`] ends it. An
//! idle connection holds no buffer: bytes are read into one scratch buffer per thread, and only a
//! message that has not yet arrived whole is kept. None of that knows JSON, tokens or groups.
//!
//! Above the transport, `greeting` lets a client in, and `session` runs its commands.

pub mod handshake; // is this request an upgrade that we accept
pub mod upgrade; // the raw stream out of hyper
pub mod reader; // bytes from the socket into the decoder
pub mod decoder; // bytes into items, without I/O
mod frame; // the one frame that is arriving
mod message; // the one message that has not yet arrived whole
pub mod fault; // how a client can break the protocol, and the close code for it
mod scratch; // the read buffer that all connections of a thread share
pub mod closing; // the end of a connection that loses no byte
pub mod echo; // answers every message with itself, for conformance suites
pub mod route; // from a request to a session
mod session; // one client, from hello to the close
mod greeting; // its hello and its welcome
mod wire; // both ends of its connection
mod marks; // its read marks, at their pace
mod lane; // its frames, in order
mod offences; // how much a client may do wrong
mod commands; // each frame
mod answers; // failures as frames, and the closes that follow them
