//! The default backend: this process and one SQLite file.

pub mod database;
pub mod directory;
