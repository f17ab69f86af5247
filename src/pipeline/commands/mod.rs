//! Commands, one file per noun. Each takes a permit, validates, changes the directory if it must,
//! and appends.

pub mod accounts;
pub mod groups;
pub mod members;
pub mod messages;
pub mod profiles;
pub mod reads;
