//! `qunliu load` as a process: the clients of a test, and the audit of what they saw.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::node::{House, Node};
use super::process::wait_for;

/// The size of a run.
pub(crate) struct Size {
    pub(crate) users: u32,
    pub(crate) groups: u32,
    /// Messages a second.
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) seed: u64,
}

/// A run. It is killed when this is dropped.
pub(crate) struct Load {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

/// Counts by name, as the run tells them.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Load {
    /// Begins a run against the nodes.
    pub(crate) fn start(house: &House, nodes: &[Node], size: &Size) -> Self {
        Self::start_with(house, nodes, size, &[])
    }

    /// The same, with further flags.
    pub(crate) fn start_with(house: &House, nodes: &[Node], size: &Size, flags: &[&str]) -> Self {
        let (out, log) = (house.file("load.out"), house.file("load.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_qunliu"));
        command
            .args(["load", "--trace", "--settle", "120"])
            .args(flags);
        for node in nodes {
            command.args(["--url", &node.url]);
        }
        let size = [
            ("--users", size.users.into()),
            ("--groups", size.groups.into()),
            ("--rate", size.rate.into()),
            ("--seconds", size.seconds.into()),
            ("--seed", size.seed),
        ];
        for (name, value) in size {
            command.args([name, &value.to_string()]);
        }
        command
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap());
        command
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true);
        let child = command.spawn().unwrap();
        Self { child, out, log }
    }

    /// The counts of this moment; none before sending began.
    pub(crate) fn counts(&mut self) -> Counts {
        assert_eq!(
            self.child.try_wait().unwrap(),
            None,
            "the run ended early: {}",
            self.told()
        );
        let text = std::fs::read_to_string(&self.log).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("trace "));
        let pair = |word: &str| {
            let (name, count) = word.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        last.unwrap_or("").split(' ').filter_map(pair).collect()
    }

    /// Waits until `count` messages were sent.
    pub(crate) async fn sent(&mut self, count: u64) {
        self.reaches("sent", count).await;
    }

    /// Waits until `count` messages were said to be stored.
    pub(crate) async fn stored(&mut self, count: u64) {
        self.reaches("stored", count).await;
    }

    async fn reaches(&mut self, name: &str, count: u64) {
        wait_for("sends", async || {
            (of(&self.counts(), name) >= count).then_some(())
        })
        .await;
    }

    /// Waits until at least `least` sends have no answer, and tells how many.
    pub(crate) async fn unanswered(&mut self, least: u64) -> u64 {
        self.behind("accepted", least).await
    }

    /// Waits until at least `least` sends are not stored, and tells how many.
    pub(crate) async fn unsettled(&mut self, least: u64) -> u64 {
        self.behind("stored", least).await
    }

    async fn behind(&mut self, receipt: &str, least: u64) -> u64 {
        wait_for("sends in flight", async || {
            let counts = self.counts();
            let behind = of(&counts, "sent").saturating_sub(of(&counts, receipt));
            (behind >= least).then_some(behind)
        })
        .await
    }

    /// Waits until the audit is done, and asserts that nothing is wrong.
    pub(crate) async fn passed(mut self) -> Counts {
        let child = &mut self.child;
        let status = tokio::time::timeout(AUDIT_MAX, child.wait()).await;
        let status = status.expect("the run ends in time").unwrap();
        assert!(status.success(), "{}", self.told());
        let report = std::fs::read_to_string(&self.out).unwrap();
        report.lines().filter_map(row).collect()
    }

    fn told(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let log = log.lines().filter(|line| !line.starts_with("trace "));
        let log: Vec<&str> = log.collect();
        let out = std::fs::read_to_string(&self.out).unwrap();
        format!("{out}{}", log.join("\n"))
    }
}

/// How long a run may take from the last fault to its verdict.
const AUDIT_MAX: std::time::Duration = std::time::Duration::from_secs(240);

/// A count; 0 if it is not told.
pub(crate) fn of(counts: &Counts, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// A row of the report: `| again | 12 |`.
fn row(line: &str) -> Option<(String, u64)> {
    let mut cells = line.split('|').map(str::trim).skip(1);
    let (name, count) = (cells.next()?, cells.next()?);
    Some((name.to_owned(), count.parse().ok()?))
}
