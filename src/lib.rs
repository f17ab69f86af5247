//! Qunliu (群流): an open, self-hosted group-chat server for merchants and their customers.
//!
//! The modules in the order data takes through them:
//!
//! - [`model`]: the vocabulary, plain data
//! - [`protocol`]: what crosses a socket
//! - [`store`]: the boundary to everything that keeps data, one folder for each backend
//! - [`error`]: why a request failed, free of HTTP
//! - [`access`]: who may do what
//! - [`pipeline`]: the write path
//! - [`egress`]: the push path
//! - [`ingress`]: everything a client calls
//! - [`config`], [`server`], [`cli`]: what is set, how it is put together, how it is started
//! - [`clock`], [`lifecycle`], [`telemetry`], [`traces`]: time, tasks, metrics, traces

pub mod model;
pub mod protocol;
pub mod store;
pub mod error;
pub mod access;
pub mod pipeline;
pub mod egress;
pub mod ingress;
pub mod config;
pub mod server;
pub mod cli;
pub mod clock;
pub mod lifecycle;
pub mod telemetry;
pub mod traces;
