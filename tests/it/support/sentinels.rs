//! Real sentinels that the tests start themselves, over servers of theirs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command};

use redis::cmd;

use super::certificates::Authority;
use super::process::wait_for;
use super::redis::{RedisServer, USER_AND_PASSWORD, free_port};

/// How the sentinels call the master.
const NAME: &str = "chat";

/// Three sentinels of one master, of which two must agree. They are killed when this is dropped.
pub(crate) struct Sentinels {
    dir: PathBuf,
    running: Vec<(u16, Child)>,
    /// Where clients ask, and how.
    url: String,
}

impl Sentinels {
    /// Over a server and its replicas; waits until they know each other and `replicas` of these.
    pub(crate) async fn over(server: &RedisServer, replicas: usize) -> Self {
        Self::start(server.port(), replicas, None).await
    }

    /// The same over a server that speaks TLS on this port: so do they, with each other, with it and with
    /// clients.
    pub(crate) async fn over_tls(server: u16, authority: &Authority) -> Self {
        Self::start(server, 0, Some(authority)).await
    }

    async fn start(server: u16, replicas: usize, tls: Option<&Authority>) -> Self {
        let dir = PathBuf::from(format!("/var/tmp/qunliu-sentinels-{}", free_port()));
        std::fs::create_dir_all(&dir).unwrap();
        let (mut running, mut hosts) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (port, tls_port) = (free_port(), free_port());
            let mut settings = vec![];
            if let Some(authority) = tls {
                settings = authority.redis(tls_port);
                settings.extend(["--tls-replication", "yes"].map(str::to_owned));
            }
            running.push((port, sentinel(&dir, port, server, &settings)));
            hosts.push(format!(
                "127.0.0.1:{}",
                if tls.is_some() { tls_port } else { port }
            ));
        }
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        let hosts = hosts.join(",");
        let url = format!("{scheme}+sentinel://{USER_AND_PASSWORD}@{hosts}/{NAME}");
        let sentinels = Self { dir, running, url };
        wait_for("sentinels know each other", async || {
            for (port, _) in &sentinels.running {
                let known = state(*port).await?;
                let is_whole = known["num-other-sentinels"] == "2"
                    && known["num-slaves"] == replicas.to_string();
                is_whole.then_some(())?;
            }
            Some(())
        })
        .await;
        sentinels
    }

    /// The address of whichever server they call the master.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Has a replica promoted, and the master, which lives on, made a replica of it.
    pub(crate) async fn fail_over(&self) {
        let (port, _) = self.running.first().unwrap();
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.unwrap();
        let mut order = cmd("SENTINEL");
        order.arg("FAILOVER").arg(NAME);
        // It may not know yet that the replica is good enough.
        wait_for("a sentinel takes the order", async || {
            order.exec_async(&mut connection).await.ok()
        })
        .await;
    }

    /// Waits until all of them call the server on this port the master.
    pub(crate) async fn promoted(&self, master: u16) {
        wait_for("sentinels agree on another master", async || {
            for (port, _) in &self.running {
                (state(*port).await?["port"] == master.to_string()).then_some(())?;
            }
            Some(())
        })
        .await;
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("the logs are in {}", self.dir.display());
        } else {
            let _removed = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Starts one on a file of its own, which it rewrites.
fn sentinel(dir: &std::path::Path, port: u16, master: u16, more: &[String]) -> Child {
    let file = dir.join(format!("{port}.conf"));
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\n\
         sentinel monitor {NAME} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {NAME} 1500\n\
         sentinel failover-timeout {NAME} 6000\n",
        dir.display()
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(&file).arg("--sentinel").args(more);
    let log = std::fs::File::create(dir.join(format!("{port}.log")));
    command.stdout(log.unwrap());
    command.spawn().unwrap()
}

/// What the sentinel on this port says of the master.
async fn state(port: u16) -> Option<HashMap<String, String>> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.ok()?;
    let mut ask = cmd("SENTINEL");
    let ask = ask.arg("MASTER").arg(NAME);
    ask.query_async(&mut connection).await.ok()
}
