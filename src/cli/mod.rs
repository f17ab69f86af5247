//! The operator's subcommands, one folder or file each.

pub mod load;
