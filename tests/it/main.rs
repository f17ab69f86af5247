//! The one integration binary: layering, wire, contracts of the stores, flows of the product.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test helpers may fail loudly"
)]

#[macro_use]
mod contract;
mod embedded;
mod flow;
mod layering;
mod support;
mod mongo;
mod redis;
