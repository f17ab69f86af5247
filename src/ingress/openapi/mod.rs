//! The API described by itself: OpenAPI 3.1, made of the very list of routes that is served.
//!
//! A handler's file says beside each route what it takes and answers ([`operation`]); types say
//! their own form and bounds by `JsonSchema` where they are defined; the error table says what a
//! failure looks like ([`failure`]). [`document`] puts these together once, at the start. Nothing
//! here is asked while a request is handled.

pub mod operation; // what a route takes and answers
pub mod parameter; // what a query may hold
pub mod document; // all routes as one document
mod failure; // failures of a route, from the error table
mod schema; // forms of requests and of answers
