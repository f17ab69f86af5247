//! The program itself, run as an operator runs it, until it ends.

use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio::time::timeout;

use super::logs::DEADLINE;

/// What the program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// It must have ended so.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs it with these arguments and `QUNLIU_…` variables. What does not end in time is killed,
/// and fails the test.
pub(crate) async fn run(arguments: &[&str], environment: &[(String, String)]) -> Ended {
    let child = Command::new(env!("CARGO_BIN_EXE_qunliu"))
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, child).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it does not end").unwrap();
    Ended {
        code: status.code().expect("no signal ended it"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
