//! `qunliu doctor`: looks at everything that a deployment rests on, and says of each thing how it
//! is, what was found and how to mend it. It changes nothing, and may be used beside a running
//! server or before the first start.
//!
//! The stores are looked at by their own folders (`examine` in each), which also decide what a
//! server starts on; here is what belongs to this machine. To add a check: a function that
//! answers a [`Finding`], and its place in a list.

use std::process::ExitCode;

use super::{Exit, options, print};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::server;
use crate::store::finding::{Finding, Verdict};

mod files; // the secret and the certificate
mod machine; // disk and open files

/// Its arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object on a line instead.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: options::Options,
}

/// Looks, and exits 0, or 69 if anything failed.
pub async fn run(args: Args) -> ExitCode {
    let findings = match args.options.load() {
        Ok(config) => Box::pin(examine(&config)).await,
        Err(error) => vec![refused(&error)],
    };
    for finding in &findings {
        print(&line(finding, args.json));
    }
    let has_failed = findings.iter().any(|one| one.verdict == Verdict::Fail);
    let exit = if has_failed {
        Exit::Unavailable
    } else {
        Exit::Done
    };
    exit.into()
}

async fn examine(config: &Config) -> Vec<Finding> {
    let clock = SystemClock;
    let mut findings = vec![
        Finding::ok("configuration", "valid"),
        files::secret(config),
        files::certificate(config, &clock).await,
        machine::disk(&config.server.data),
        machine::open_files(config),
    ];
    findings.extend(server::examine_stores(config, &clock).await);
    findings
}

fn refused(error: &ConfigError) -> Finding {
    let mend = "every key is in config.toml with its default";
    Finding::fail("configuration", error.to_string(), mend)
}

/// What servers answered may hold anything: nothing of it may move the operator's terminal.
fn line(finding: &Finding, is_json: bool) -> String {
    if is_json {
        return serde_json::to_string(finding).expect("plain data always serialises");
    }
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    let text = |text: &str| text.replace(char::is_control, " ");
    let (found, mend) = (text(&finding.found), text(&finding.mend));
    let line = format!("{verdict:<4}  {:<31}  {found}  {mend}", finding.what);
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is_what_was_found_and_how_to_mend_it() {
        let finding = Finding::warn("redis memory", "80 %\x1b[2J", "raise maxmemory");
        let said = line(&finding, false);
        assert!(said.starts_with("warn  redis memory  "), "{said}");
        assert!(said.ends_with("  80 % [2J  raise maxmemory"), "{said}");
        let ok = line(&Finding::ok("redis role", "master"), false);
        assert!(ok.ends_with("  master"), "{ok}");
    }
}
