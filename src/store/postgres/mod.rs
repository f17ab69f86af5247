//! The production directory: PostgreSQL.
