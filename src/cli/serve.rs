//! `qunliu serve`: starts the server, says where it listens, and stops it at a signal: the first
//! one drains, a second one ends what has not finished.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, complain, log, options, tell};
use crate::clock::SystemClock;
use crate::lifecycle::Stopped;
use crate::server::{Server, StartError};

/// Its arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: options::Options,
    /// Serve on a Redis that does not sync each append to its disk, as `redis.allow_data_loss`
    /// does: what was said to be accepted is lost when it crashes.
    #[arg(long)]
    i_accept_data_loss: bool,
}

/// Serves until a signal.
pub async fn run(args: Args) -> ExitCode {
    let mut config = match args.options.load_or_complain() {
        Ok(config) => config,
        Err(exit) => return exit.into(),
    };
    config.redis.allow_data_loss |= args.i_accept_data_loss;
    log::begin(&config.log);
    let deadline = Duration::from_secs(config.server.drain_s);
    // Signals are caught from here on: one that comes while the server starts is not lost.
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            complain(&error);
            return Exit::Fault.into();
        }
    };
    match Box::pin(Server::start(config, Arc::new(SystemClock))).await {
        Ok(server) => serve(server, signals, deadline).await.into(),
        Err(error) => {
            complain(&error);
            exit_of(&error).into()
        }
    }
}

async fn serve(server: Server, mut signals: Signals, deadline: Duration) -> Exit {
    if let Some(code) = server.setup_code() {
        tell(&format!("the first account needs this setup code: {code}"));
    }
    if let Err(error) = announce(&server) {
        complain(&error);
        return Exit::Fault;
    }
    let failed = tokio::select! {
        () = signals.next() => false,
        () = server.failed() => true,
    };
    tracing::info!(deadline_s = deadline.as_secs(), "draining");
    let stopped = server.stop(deadline, signals.next()).await;
    tracing::info!(?stopped, "stopped");
    match stopped {
        Stopped::Drained if !failed => Exit::Done,
        Stopped::Drained | Stopped::Aborted => Exit::Fault,
    }
}

/// The one line on standard output, which whoever started the server waits for.
fn announce(server: &Server) -> std::io::Result<()> {
    let (address, admin) = (server.address(), server.admin_address());
    let mut out = std::io::stdout();
    let scheme = server.scheme();
    writeln!(out, "listening {scheme}://{address} admin http://{admin}")?;
    out.flush()
}

/// How the program ends when a server cannot start, or its stores cannot be used.
pub(super) const fn exit_of(error: &StartError) -> Exit {
    match error {
        StartError::Secret(_) | StartError::Certificate(_) | StartError::Traces(_) => Exit::Usage,
        StartError::Bind { .. } | StartError::Data { .. } | StartError::Store(_) => {
            Exit::Unavailable
        }
        StartError::Fault(_) => Exit::Fault,
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
