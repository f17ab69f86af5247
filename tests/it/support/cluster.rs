//! Real clusters of Redis servers that the tests start themselves.

use qunliu::model::id::GroupId;
use redis::cmd;

use super::certificates::Authority;
use super::process::wait_for;
use super::redis::{Process, RedisServer, SAFE, USER_AND_PASSWORD, free_port};
use crate::contract::{consumers, log, signals};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// After how long a silent server is taken for dead, in milliseconds: Redis' default, and soon, where
/// one is to be replaced.
const PATIENT_MS: u32 = 15_000;
const HASTY_MS: u32 = 2_000;

/// Three masters that share the slots, and their replicas, if any.
pub(crate) struct RedisCluster {
    /// The masters first, then a replica of each in the same order.
    pub(crate) servers: Vec<RedisServer>,
    scheme: &'static str,
    /// Where clients connect to each.
    ports: Vec<u16>,
}

impl RedisCluster {
    /// Masters without replicas; `None` if there is no `redis-server`.
    pub(crate) async fn start() -> Option<Self> {
        Self::of(3, None, PATIENT_MS).await
    }

    /// Masters without replicas that speak TLS to each other and to clients.
    pub(crate) async fn over_tls(authority: &Authority) -> Option<Self> {
        Self::of(3, Some(authority), PATIENT_MS).await
    }

    /// Each master with a replica.
    pub(crate) async fn with_replicas() -> Option<Self> {
        let cluster = Self::of(6, None, HASTY_MS).await?;
        for index in 0..3 {
            let master = id(&cluster.servers[index]).await;
            let replica = &cluster.servers[index + 3];
            // It may not know the master yet.
            wait_for("a replica follows", async || {
                let mut replicate = cmd("CLUSTER");
                replicate.arg("REPLICATE").arg(&master);
                replicate.exec_async(&mut replica.raw().await).await.ok()?;
                Some(())
            })
            .await;
            let link = "master_link_status:up";
            wait_for("a replica has all", async || {
                says(replica, "replication", link).await
            })
            .await;
        }
        Some(cluster)
    }

    /// This many servers that know each other, of which the first three have the slots.
    async fn of(count: usize, authority: Option<&Authority>, patience_ms: u32) -> Option<Self> {
        let (mut servers, mut ports) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (bus, tls_port) = (free_port(), free_port());
            let tls = authority.map(|authority| authority.redis(tls_port));
            let server = start(bus, tls.as_deref(), patience_ms).await?;
            ports.push(authority.map_or(server.port(), |_| tls_port));
            let mut raw = server.raw().await;
            let mut epoch = cmd("CLUSTER");
            epoch.arg("SET-CONFIG-EPOCH").arg(index + 1);
            epoch.exec_async(&mut raw).await.unwrap();
            if let Some((first, first_bus)) = servers.first() {
                let first: &RedisServer = first;
                let mut meet = cmd("CLUSTER");
                meet.arg("MEET")
                    .arg("127.0.0.1")
                    .arg(first.port())
                    .arg(*first_bus);
                meet.exec_async(&mut raw).await.unwrap();
            }
            servers.push((server, bus));
        }
        let servers: Vec<_> = servers.into_iter().map(|(server, _)| server).collect();
        for (server, index) in servers.iter().zip(0..3) {
            let (first, last) = (SLOTS / 3 * index, SLOTS / 3 * (index + 1) - 1);
            let last = if index == 2 { SLOTS - 1 } else { last };
            let mut add = cmd("CLUSTER");
            add.arg("ADDSLOTSRANGE").arg(first).arg(last);
            add.exec_async(&mut server.raw().await).await.unwrap();
        }
        let cluster = Self {
            servers,
            scheme: authority.map_or("redis", |_| "rediss"),
            ports,
        };
        cluster.serves(count).await;
        Some(cluster)
    }

    /// Waits until every server says that all slots are served, and knows and reaches all others: of
    /// one that it shakes hands with it takes no message yet.
    async fn serves(&self, count: usize) {
        for server in &self.servers {
            wait_for("the cluster is one", async || {
                let info = ask(server, "INFO").await;
                let lines = ["cluster_state:ok", "cluster_slots_ok:16384"];
                let nodes = ask(server, "NODES").await;
                let reached = nodes
                    .lines()
                    .filter(|line| line.contains(" connected") && !line.contains("handshake"));
                let is_one = lines.iter().all(|line| info.contains(line));
                (is_one && reached.count() == count).then_some(())
            })
            .await;
        }
    }

    /// The address of the cluster.
    pub(crate) fn url(&self) -> String {
        let hosts = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("{}+cluster://{USER_AND_PASSWORD}@{hosts}", self.scheme)
    }

    /// Which of the servers has the keys of a group.
    pub(crate) async fn index(&self, group: GroupId) -> usize {
        let mut raw = self.servers[0].raw().await;
        let mut slot = cmd("CLUSTER");
        slot.arg("KEYSLOT")
            .arg(format!("{{{}}}", group.partition()));
        let slot: u16 = slot.query_async(&mut raw).await.unwrap();
        usize::from(slot / (SLOTS / 3)).min(2)
    }

    /// Waits until the replica of a master that was killed has its place.
    pub(crate) async fn promoted(&self, index: usize) {
        let replica = &self.servers[index + 3];
        wait_for("the replica is promoted", async || {
            says(replica, "replication", "role:master").await
        })
        .await;
    }
}

/// A server of a cluster, which talks to the others on the port `bus`.
async fn start(bus: u16, tls: Option<&[String]>, patience_ms: u32) -> Option<RedisServer> {
    let (bus, patience_ms) = (bus.to_string(), patience_ms.to_string());
    let own = [
        ("--cluster-enabled", "yes"),
        ("--cluster-port", &bus),
        ("--cluster-node-timeout", &*patience_ms),
        ("--cluster-require-full-coverage", "no"),
    ];
    let own = own.iter().flat_map(|(name, value)| [*name, *value]);
    let mut settings: Vec<&str> = SAFE.iter().copied().chain(own).collect();
    if let Some(tls) = tls {
        settings.extend(tls.iter().map(String::as_str));
        settings.extend(["--tls-cluster", "yes"]);
    }
    RedisServer::start_with(&settings).await
}

/// The name of a server in its cluster.
pub(crate) async fn id(server: &RedisServer) -> String {
    ask(server, "MYID").await
}

/// What a server says of its cluster.
async fn ask(server: &RedisServer, what: &str) -> String {
    let mut ask = cmd("CLUSTER");
    let said = ask.arg(what).query_async(&mut server.raw().await).await;
    said.unwrap()
}

/// Whether an `INFO` has this line.
async fn says(server: &RedisServer, section: &str, line: &str) -> Option<()> {
    let mut ask = cmd("INFO");
    let ask = ask.arg(section).query_async(&mut server.raw().await).await;
    let info: String = ask.unwrap();
    info.contains(line).then_some(())
}

/// A log of a cluster of its own.
pub(crate) async fn log_subject() -> Option<log::Subject> {
    let cluster = RedisCluster::start().await?;
    let process = Process::at(&cluster.url()).await;
    let log = process.stores.log.clone();
    Some(log::Subject {
        log,
        _keep: Box::new((process, cluster)),
    })
}

/// A log with consumers of a cluster of its own.
pub(crate) async fn consumers_subject() -> Option<consumers::Subject> {
    let cluster = RedisCluster::start().await?;
    let process = Process::at(&cluster.url()).await;
    let (log, consumers) = (process.stores.log.clone(), process.stores.consumers.clone());
    Some(consumers::Subject {
        log,
        consumers,
        _keep: Box::new((process, cluster)),
    })
}

/// Signals of a cluster of its own.
pub(crate) async fn signals_subject() -> Option<signals::Subject> {
    let cluster = RedisCluster::start().await?;
    let process = Process::at(&cluster.url()).await;
    let signals = process.stores.signals.clone();
    Some(signals::Subject {
        signals,
        _keep: Box::new((process, cluster)),
    })
}
