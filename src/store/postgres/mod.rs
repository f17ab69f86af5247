//! The production directory: PostgreSQL.

pub mod database;
pub mod directory;
pub mod examine;
pub mod replicas; // lists of people from copies that keep up
