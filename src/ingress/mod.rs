//! Everything a client calls, and the only folder that names warp.
//!
//! A connection comes in through [`listen`], a request through a [`route::Route`], whose handler
//! parses it once ([`call`], [`body`]), asks `access` for a permit, hands it to a command or a
//! read, and answers through [`reply`]. Handlers decide nothing about rights.
//!
//! To add an endpoint: one function in `rest/<resource>.rs` and one line in that file's list.

pub mod listen; // sockets: limits, deadlines, drain
pub mod tls; // the certificate, also a new one
pub mod route; // a method, a path and a handler
pub mod origin; // from which sites browsers may come
pub mod call; // one request, parsed piece by piece
pub mod body; // a body within its bounds
pub mod reply; // answers and problems
mod refusals; // what is refused, counted
pub mod cursor; // places in lists
pub mod forwarded; // whose request comes through a proxy
pub mod limit; // how often, how many
pub mod auth; // who calls
pub mod app; // what handlers work with
pub mod rest; // the resources
pub mod openapi; // the resources, described
pub mod docs; // the description as a document and as a page
pub mod page; // the built-in page
pub mod socket; // the WebSocket transport
pub mod timeline; // a piece of history for one who may read it
