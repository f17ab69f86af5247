//! `qunliu load`: hundreds of chat clients against a running server, and then an audit.
//!
//! The run makes its own users and groups, says real text at a fixed rate, waits until all is
//! settled, and checks that every message is in each node's log and on each member's socket
//! exactly once, in one order, as it was said, and that every unread count equals a recount.
//!
//! In reading order:
//!
//! - [`text`], [`random`], [`plan`]: what will be said, by whom, where and when
//! - [`dial`], [`rest`], [`setup`]: streams, the calls, and everyone and everything a run needs
//! - [`wire`], [`client`]: the frames, and one client as a pure state machine
//! - [`socket`], [`record`], [`meter`]: driving it, what it saw, what all count together
//! - [`evidence`], [`check`], [`report`]: what the server says, the verdict, the tables
//! - [`idle`]: instead of all that, the memory of idle sockets
//! - [`cpu`]: the CPU time of the server
//!
//! Nothing here uses the server's own code for the wire: a mistake there must not hide here.

pub mod text;
pub mod random;
pub mod plan;
pub mod dial;
pub mod rest;
pub mod setup;
pub mod wire;
pub mod client;
pub mod socket;
pub mod record;
pub mod meter;
pub mod evidence;
pub mod check;
pub mod report;
pub mod idle;
pub mod cpu;
mod progress;
mod trace;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use setup::Impossible;

use crate::model::causes::full_text;

/// The exit code of a run that found a flaw.
const FLAWED: u8 = 1;
/// The exit code of a run that could not be made.
const IMPOSSIBLE: u8 = 2;

/// Replay real text as many chat clients against a running server, and audit what came of it.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A node of the server, as `http://127.0.0.1:8080` or `https://…`; more than once spreads the clients.
    #[arg(long, required = true)]
    pub url: Vec<String>,
    /// For `https://`: a PEM file with the authorities that are trusted.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// Clients, one account and one socket each.
    #[arg(long, default_value_t = 200)]
    pub users: usize,
    /// Groups; every client is in about four of them.
    #[arg(long, default_value_t = 20)]
    pub groups: usize,
    /// Messages a second, all clients together.
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long messages are sent, in seconds.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// A file of lines to say; without one, lines are generated.
    #[arg(long)]
    pub text: Option<PathBuf>,
    /// The account that owns the groups; needed unless the server is fresh.
    #[arg(long)]
    pub owner: Option<String>,
    /// The password of the owner.
    #[arg(long, requires = "owner")]
    pub password: Option<String>,
    /// What a fresh server that listens to the world printed at its start.
    #[arg(long)]
    pub setup_code: Option<String>,
    /// Repeats the random choices of another run.
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long to wait for what is still on its way after the last message, in seconds.
    #[arg(long, default_value_t = 30)]
    pub settle: u64,
    /// Nobody says how far they read: what is left is sending and delivering.
    #[arg(long)]
    pub no_reads: bool,
    /// A store is put back to an older state meanwhile: what is shown as lost is not missing, and
    /// what is left may stand at the same seq in a newer epoch.
    #[arg(long)]
    pub may_lose: bool,
    /// Write the counts to standard error while the run goes on, twenty lines a second.
    #[arg(long)]
    pub trace: bool,
    /// Instead: open this many idle sockets and print what one costs the server.
    #[arg(long, requires = "server_pid")]
    pub idle: Option<usize>,
    /// Beside the run: this many groups in which idle clients listen and nobody speaks.
    #[arg(long, default_value_t = 0)]
    pub idle_groups: usize,
    /// The process of the server: for --idle, and to print its CPU time per delivery and per message. More
    /// than once, with those of its stores: what they used together.
    #[arg(long)]
    pub server_pid: Vec<u32>,
}

/// Makes the run. 0 = nothing is wrong, 1 = a flaw was found, 2 = the run was impossible.
pub async fn run(args: Args) -> ExitCode {
    let clean = match args.idle {
        Some(count) => Box::pin(run::measure_idle(&args, count))
            .await
            .map(|()| true),
        None => Box::pin(run::load(&args)).await,
    };
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FLAWED),
        Err(impossible) => {
            complain(&impossible);
            ExitCode::from(IMPOSSIBLE)
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a command line tool tells its errors there"
)]
fn complain(impossible: &Impossible) {
    eprintln!("the run was impossible: {}", full_text(impossible));
}
