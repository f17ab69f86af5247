//! What is kept in tables, written once for every engine that speaks SQL: SQLite in the embedded
//! backend, PostgreSQL in the production one.
//!
//! ```text
//! Directory ─► directory::SqlDirectory ─► engine::{Engine, Transaction} ─► SQLite | PostgreSQL
//! ```
//!
//! Decisions and statements are here and name no driver; the statements keep to the SQL that all
//! engines agree on, with `$1` placeholders. An engine is a small file in its backend's folder
//! that binds [`value::Value`]s, reads [`value::Row`]s and says what its errors mean. The schema
//! is the one thing that each engine has of its own: `migrations/<engine>`.

pub mod directory;
pub mod engine;
pub mod migrations;
pub mod value;
