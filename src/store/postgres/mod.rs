//! The production directory: PostgreSQL.

pub mod database;
pub mod directory;
