//! Nodes of the server as processes of their own, which tests may stop, kill and start again.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use super::http;
use super::process::{Signal, signal, wait_for};
use super::redis::free_port;

/// What the nodes of one test share: where they run, and with which settings.
pub(crate) struct House {
    dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl House {
    /// A house on the disk for nodes with these settings, as `QUNLIU_…` variables.
    pub(crate) fn new(mut environment: Vec<(String, String)>) -> Self {
        let name = uuid::Uuid::new_v4().simple();
        let dir = PathBuf::from(format!("/var/tmp/qunliu-nodes-{name}"));
        std::fs::create_dir(&dir).unwrap();
        let secret = dir.join("secret.key").display().to_string();
        environment.push(("QUNLIU_AUTH_SECRET_FILE".to_owned(), secret));
        environment.push(("QUNLIU_LIMITS_ENABLED".to_owned(), "false".to_owned()));
        // Clients leave a node that hangs after 2.2 of these.
        environment.push(("QUNLIU_EGRESS_HEARTBEAT_S".to_owned(), "5".to_owned()));
        Self { dir, environment }
    }

    /// A file of the house.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a node on free ports. Nodes with one name have one data folder.
    pub(crate) async fn start(&self, name: &str) -> Node {
        self.start_with(name, &[]).await
    }

    /// The same, with further arguments.
    pub(crate) async fn start_with(&self, name: &str, arguments: &[&str]) -> Node {
        // Not of the kernel's choice: it would give them to others while the node is away.
        let free = || format!("127.0.0.1:{}", free_port());
        self.start_at(name, [&free(), &free()], arguments).await
    }

    async fn start_at(&self, name: &str, at: [&str; 2], arguments: &[&str]) -> Node {
        let [address, admin] = at;
        let log = |kind| {
            File::options()
                .create(true)
                .append(true)
                .open(self.file(&format!("{name}.{kind}")))
        };
        let out = self.file(&format!("{name}.out"));
        drop(std::fs::remove_file(&out));
        let child = Command::new(env!("CARGO_BIN_EXE_qunliu"))
            .args([
                "serve",
                "--listen",
                address,
                "--admin-listen",
                admin,
                "--data",
            ])
            .arg(self.file(name))
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log("out").unwrap())
            .stderr(log("log").unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let announced = wait_for("the node listens", async || {
            std::fs::read_to_string(&out)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
        .await;
        let words: Vec<&str> = announced.split_whitespace().collect();
        let [_, url, _, admin] = words[..] else {
            panic!("the node says {announced:?}");
        };
        Node {
            name: name.to_owned(),
            child,
            url: url.to_owned(),
            admin: admin.to_owned(),
        }
    }
}

impl Drop for House {
    /// What a failed test leaves is kept: the logs tell why.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs are in {}", self.dir.display());
        } else {
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}

/// A running node. It is killed when this is dropped.
pub(crate) struct Node {
    name: String,
    child: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
}

impl Node {
    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        bare(&self.url).parse().unwrap()
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the node runs")
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, sent: Signal) {
        signal(self.pid(), sent);
    }

    /// Kills the process as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the node ends", async || child.try_wait().unwrap()).await
    }

    /// Starts a node that ended again: the same ports, the same data.
    pub(crate) async fn start_again(&mut self, house: &House) {
        let (address, admin) = (bare(&self.url), bare(&self.admin));
        let again = house.start_at(&self.name, [address, admin], &[]).await;
        *self = again;
    }

    /// What keeps the node from being ready, as its admin listener says.
    pub(crate) async fn missing(&self) -> Vec<String> {
        let response = http::client()
            .get(format!("{}/readyz", self.admin))
            .send()
            .await
            .unwrap();
        let mut ready: serde_json::Value = response.json().await.unwrap();
        serde_json::from_value(ready["missing"].take()).unwrap()
    }

    /// The page of its metrics.
    pub(crate) async fn metrics(&self) -> String {
        let page = http::client().get(format!("{}/metrics", self.admin));
        page.send().await.unwrap().text().await.unwrap()
    }

    /// Waits until just these keep the node from being ready.
    pub(crate) async fn misses(&self, wanted: &[&str]) {
        wait_for("the node says what keeps it", async || {
            (self.missing().await == wanted).then_some(())
        })
        .await;
    }

    /// The sum of a metric over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let values = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let number = |line: &str| line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        values.filter_map(number).map(Result::unwrap).sum()
    }
}

fn bare(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}
