//! `qunliu check-config`: says whether the server would take a configuration.

use std::process::ExitCode;

use super::{Exit, options, tell};

/// Its arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: options::Options,
}

/// Checks, and exits 0 or 64.
pub fn run(args: Args) -> ExitCode {
    match args.options.load_or_complain() {
        Ok(_) => {
            tell("the configuration is valid");
            Exit::Done.into()
        }
        Err(exit) => exit.into(),
    }
}
