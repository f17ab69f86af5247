//! Real Redis, MongoDB and PostgreSQL of one test's own, which it may break: processes that
//! `scripts/services` starts in a folder on the disk and removes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redis::aio::MultiplexedConnection;

use super::process::{Signal, signal};
use super::redis::ASSURED;
use super::service;

/// One of the services.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service {
    Redis,
    MongoDb,
    Postgres,
    /// A replica of PostgreSQL, there once [`Services::replicate`] was called.
    Replica,
}

impl Service {
    const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MongoDb => "mongodb",
            Self::Postgres => "postgres",
            Self::Replica => "replica",
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
        let addresses = ["REDIS", "MONGODB", "POSTGRES"].map(|name| {
            let mut address = value(&self.addresses, &format!("QUNLIU_TEST_{name}"));
            if name == "MONGODB" {
                address = address.replace("/?", "/qunliu?");
            }
            (format!("QUNLIU_STORES_{name}"), address)
        });
        let (name, value) = ASSURED;
        let assured = (name.to_owned(), value.to_owned());
        addresses.into_iter().chain([assured]).collect()
    }

    /// Starts a streaming replica of PostgreSQL; answers its address.
    pub(crate) fn replicate(&self) -> String {
        self.up(Service::Replica);
        let printed = script(&["env", &self.dir.display().to_string()]);
        let lines = printed.lines().filter_map(|line| line.split_once('='));
        let mut named = lines.filter(|(name, _)| *name == "QUNLIU_TEST_REPLICA");
        named.next().unwrap().1.to_owned()
    }

    /// Makes a service hang: connections stay open, nothing is answered.
    pub(crate) fn pause(&self, service: Service) {
        self.signal(service, Signal::Stop);
    }

    /// Lets a paused service go on.
    pub(crate) fn resume(&self, service: Service) {
        self.signal(service, Signal::Continue);
    }

    /// PostgreSQL serves each connection in a process of its own.
    fn signal(&self, service: Service, sent: Signal) {
        let pid = self.pid(service);
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        std::iter::once(pid)
            .chain(children)
            .for_each(|pid| signal(pid, sent));
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

    /// Kills a service as a crash would.
    pub(crate) fn kill(&self, service: Service) {
        script(&["kill", service.name(), &self.dir.display().to_string()]);
    }

    /// Keeps a copy of what a service holds on its disk; it is paused or killed.
    pub(crate) fn copy(&self, service: Service) {
        let home = self.dir.join(service.name());
        copy_over(&home.join("data"), &home.join("copy"));
    }

    /// Puts the copy in the place of what the killed service holds.
    pub(crate) fn put_back(&self, service: Service) {
        let home = self.dir.join(service.name());
        copy_over(&home.join("copy"), &home.join("data"));
    }

    /// A plain connection to Redis as its administrator, to look at and to damage what it keeps.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        let url = value(&self.addresses, "QUNLIU_TEST_REDIS");
        let (_, address) = url.rsplit_once('@').unwrap();
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
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

/// Makes `to` a copy of the folder `from`.
fn copy_over(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "cp {}", from.display());
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
