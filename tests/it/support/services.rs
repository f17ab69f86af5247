//! Real Redis, MongoDB and PostgreSQL of one test's own, which it may break: processes that
//! `scripts/services` starts in a folder on the disk and removes with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::process::{Signal, signal};
use super::{env, service};

/// One of the services.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    Redis,
    MongoDb,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
        }
    }
}

/// Running services. They are killed and their folder removed when this is dropped.
pub(crate) struct Services {
    dir: PathBuf,
    addresses: Vec<(String, String)>,
}

impl Services {
    /// Fresh services, beside those that the tests of stores share; `None` if the tests run
    /// without services, which fails the test when `REQUIRE_BACKENDS=1`.
    pub(crate) fn start() -> Option<Self> {
        service("QUNLIU_TEST_SERVICES_DIR")?;
        let printed = script(&["start"]);
        let mut addresses: Vec<(String, String)> = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        addresses.retain(|(name, _)| !name.ends_with("_PID"));
        let dir = value(&addresses, "QUNLIU_TEST_SERVICES_DIR").into();
        Some(Self { dir, addresses })
    }

    /// The environment of a node on these services.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        ["REDIS", "MONGODB", "POSTGRES"]
            .map(|name| {
                let mut address = value(&self.addresses, &format!("QUNLIU_TEST_{name}"));
                if name == "MONGODB" {
                    address = address.replace("/?", "/qunliu?");
                }
                (format!("QUNLIU_STORES_{name}"), address)
            })
            .into()
    }

    /// Makes a service hang: connections stay open, nothing is answered.
    pub(crate) fn pause(&self, service: Service) {
        signal(self.pid(service), Signal::Stop);
    }

    /// Lets a paused service go on.
    pub(crate) fn resume(&self, service: Service) {
        signal(self.pid(service), Signal::Continue);
    }

    /// Kills a paused service in the first moments of its work: some of what waited was done,
    /// and of that not all was answered.
    pub(crate) fn resume_and_kill(&self, service: Service) {
        self.resume(service);
        signal(self.pid(service), Signal::Kill);
        script(&["kill", service.name(), &self.dir.display().to_string()]);
    }

    /// Starts a killed service on the same port and data, and waits until it answers.
    pub(crate) fn up(&self, service: Service) {
        script(&["up", service.name(), &self.dir.display().to_string()]);
    }

    fn pid(&self, service: Service) -> u32 {
        let file = self.dir.join(service.name()).join("pid");
        let text = std::fs::read_to_string(file).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        script(&["stop", &self.dir.display().to_string()]);
    }
}

fn value(pairs: &[(String, String)], wanted: &str) -> String {
    let found = pairs.iter().find(|(name, _)| name == wanted);
    found.expect("scripts/services names it").1.clone()
}

/// Runs `scripts/services` and returns what it prints.
fn script(arguments: &[&str]) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}
