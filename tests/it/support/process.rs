//! Processes of tests: signals, and waiting for what a process does.

use std::process::Command;
use std::time::Duration;

/// How long anything that must happen may take; a loaded machine is slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// What can be sent to a process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signal {
    Stop,
    Continue,
    Terminate,
    Kill,
}

/// Sends a signal to a process, which must be there.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let name = match signal {
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
        Signal::Terminate => "-TERM",
        Signal::Kill => "-KILL",
    };
    let status = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill {name} {pid}");
}

/// Waits until `found` answers something.
pub(crate) async fn wait_for<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        loop {
            poll.tick().await;
            if let Some(found) = found().await {
                return found;
            }
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    waited.unwrap_or_else(|_| panic!("still not after {DEADLINE:?}: {what}"))
}
