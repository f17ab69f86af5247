//! The one integration binary: layering, wire, contracts of the stores, parts over stores
//! that hang, flows of the product.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test helpers may fail loudly"
)]

#[macro_use]
mod contract;
#[macro_use]
mod support;
mod documents;
mod embedded;
mod flow;
mod layering;
mod mongo;
mod parts;
mod redis;
mod wire;
