//! The operator's subcommands, one file each.
//!
//! To add one: a file with `Args` and `run`, and a variant of [`Command`] with its arm in
//! [`run`].

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::model::causes::full_text;

pub mod admin; // accounts and keys
pub mod check_config;
pub mod dead_letters; // events that could not be handled
pub mod doctor; // is everything as a server needs it
pub mod load; // many clients against a running server, and an audit
mod log; // what a server says of itself
pub mod options; // what all that read a configuration take
pub mod serve;

/// How the program ends (sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// The command line or the configuration is wrong.
    Usage = 64,
    /// A store, an address or a file cannot be used, or not safely.
    Unavailable = 69,
    /// A fault of ours.
    Fault = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// 群流: an open group-chat server for merchants and their customers.
#[derive(Debug, Parser)]
#[command(name = "qunliu", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve(serve::Args),
    /// Say whether a configuration is valid.
    CheckConfig(check_config::Args),
    Load(load::Args),
    /// Reset passwords, disable accounts, change keys.
    Admin(admin::Args),
    /// Look at everything that a deployment rests on, and say how to mend what is wrong.
    Doctor(doctor::Args),
    /// List events that could not be handled, and have them handled again.
    DeadLetters(dead_letters::Args),
}

/// Runs the subcommand that the command line names.
pub async fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error).into(),
    };
    match cli.command {
        Command::Serve(args) => Box::pin(serve::run(args)).await,
        Command::CheckConfig(args) => check_config::run(args),
        Command::Load(args) => load::run(args).await,
        Command::Admin(args) => admin::run(args).await,
        Command::Doctor(args) => Box::pin(doctor::run(args)).await,
        Command::DeadLetters(args) => dead_letters::run(args).await,
    }
}

/// Help and version go to standard output and are no failure.
fn explain(error: &clap::Error) -> Exit {
    match error.print() {
        Ok(()) if error.use_stderr() => Exit::Usage,
        Ok(()) => Exit::Done,
        Err(_) => Exit::Fault,
    }
}

/// Tells the operator why the program ends, with every cause.
fn complain(error: &(dyn std::error::Error + 'static)) {
    tell(&format!("qunliu: {}", full_text(error)));
}

/// Writes a line to standard output, for a program or a person that asked for it.
fn print(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        tell("qunliu: standard output is closed");
    }
}

/// Writes a line to standard error. Where nobody can read it, nothing can be told.
fn tell(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        tracing::debug!("standard error is closed");
    }
}
