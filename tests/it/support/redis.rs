//! Real Redis servers that the tests start themselves, each with its own folder and port.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use qunliu::lifecycle::Tasks;
use qunliu::model::id::GroupId;
use qunliu::store::redis::options::Options;
use qunliu::store::redis::stores::RedisStores;
use redis::aio::MultiplexedConnection;

use super::env;
use super::logs::DEADLINE;
use super::process::{Signal, signal};
use crate::contract::{cards, consumers, log, presence, signals};

/// A server that keeps every append. It is killed and its folder removed when this is dropped.
pub(crate) struct RedisServer {
    port: u16,
    dir: PathBuf,
    settings: Vec<String>,
    child: Option<Child>,
}

/// The user that operators are given, without a password.
const USER: &str = include_str!("../../../deploy/redis/users.acl").trim_ascii_end();
/// That user in an address, with the password that it is given here.
pub(crate) const USER_AND_PASSWORD: &str = "qunliu:of-the-tests";

/// The address of a server on this local port for that user.
pub(crate) fn url(port: u16) -> String {
    format!("redis://{USER_AND_PASSWORD}@127.0.0.1:{port}/")
}

/// Makes a server of this environment an administrator of its Redis, who may read all settings.
pub(crate) fn as_administrator(environment: &mut [(String, String)]) {
    let own = format!("{USER_AND_PASSWORD}@");
    for (_, value) in environment {
        *value = value.replace(&own, "");
    }
}

/// What no accepted message is lost with.
pub(crate) const SAFE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

impl RedisServer {
    /// A running server with safe settings; `None` if there is no `redis-server` on the path,
    /// which fails the test when `REQUIRE_BACKENDS=1`.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(SAFE).await
    }

    /// A running server with these settings.
    pub(crate) async fn start_with(settings: &[&str]) -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            let is_required = env("REQUIRE_BACKENDS").is_some_and(|value| value == "1");
            assert!(
                !is_required,
                "redis-server is not on the path and REQUIRE_BACKENDS=1"
            );
            eprintln!("skipped: redis-server is not on the path");
            return None;
        }
        let port = free_port();
        let dir = PathBuf::from(format!(
            "/var/tmp/qunliu-redis-{}-{port}",
            std::process::id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let (_, password) = USER_AND_PASSWORD.split_once(':').unwrap();
        std::fs::write(dir.join("users.acl"), format!("{USER} >{password}\n")).unwrap();
        let settings = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        let mut server = Self {
            port,
            dir,
            settings,
            child: None,
        };
        server.run().await;
        Some(server)
    }

    /// The address for the user of `deploy/redis/users.acl`, who may do no more than needed.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// The address for the default user, who may do everything.
    pub(crate) fn admin_url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A process of ours on this server.
    pub(crate) async fn process(&self) -> Process {
        Process::start(self, options()).await
    }

    /// One whose leases are short, so that others soon take over when it dies. A machine that
    /// pauses for as long takes it for dead, too.
    pub(crate) async fn mortal(&self) -> Process {
        let options = Options {
            lease_ms: 3_000,
            ..options()
        };
        Process::start(self, options).await
    }

    /// A process of ours on this server, or why it does not start.
    pub(crate) async fn try_process(
        &self,
        options: &Options,
    ) -> qunliu::store::Result<RedisStores> {
        RedisStores::connect(&self.url(), options, &Tasks::default()).await
    }

    /// Makes this server a replica of `master`, and waits until it has all.
    pub(crate) async fn follow(&self, master: &Self) {
        let mut raw = self.raw().await;
        let mut follow = redis::cmd("REPLICAOF");
        follow
            .arg("127.0.0.1")
            .arg(master.port)
            .exec_async(&mut raw)
            .await
            .unwrap();
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        let following = async {
            loop {
                poll.tick().await;
                let info = redis::cmd("INFO")
                    .arg("replication")
                    .query_async(&mut raw)
                    .await;
                let info: String = info.unwrap_or_default();
                if info.contains("master_link_status:up") {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, following)
            .await
            .expect("the replica does not follow");
    }

    /// A plain connection of an administrator, to look at and to damage what is kept.
    pub(crate) async fn raw(&self) -> MultiplexedConnection {
        self.try_raw().await.expect("it takes connections")
    }

    /// As [`Self::raw`], of a server that may break connections off, as one does that is made a replica.
    pub(crate) async fn try_raw(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.admin_url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    /// Makes the server hang: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        signal(self.child.as_ref().unwrap().id(), Signal::Stop);
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&self) {
        signal(self.child.as_ref().unwrap().id(), Signal::Continue);
    }

    /// Kills the server as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it on what its folder holds, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--aclfile",
            "users.acl",
        ]);
        command
            .arg("--dir")
            .arg(&self.dir)
            .args(&self.settings)
            .stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        tokio::time::timeout(DEADLINE, self.answers())
            .await
            .expect("redis-server does not answer");
    }

    /// Kills it and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.run().await;
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.admin_url()).unwrap();
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        loop {
            poll.tick().await;
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                continue;
            };
            if redis::cmd("PING").exec_async(&mut connection).await.is_ok() {
                return;
            }
        }
    }
}

impl RedisServer {
    /// What the server's user was denied, but for the settings that it is meant to be denied.
    fn denied(&self) -> redis::RedisResult<Vec<String>> {
        let client = redis::Client::open(self.admin_url())?;
        let mut raw = client.get_connection_with_timeout(Duration::from_secs(1))?;
        let entries: Vec<HashMap<String, redis::Value>> =
            redis::cmd("ACL").arg("LOG").query(&mut raw)?;
        let told = entries.iter().map(|entry| format!("{entry:?}"));
        Ok(told.filter(|entry| !entry.contains("config|get")).collect())
    }
}

impl Drop for RedisServer {
    /// Every test on a server also shows that its user may do all that is needed.
    fn drop(&mut self) {
        let denied = self.denied().unwrap_or_default();
        self.kill();
        if !std::thread::panicking() {
            assert!(denied.is_empty(), "the user was denied {denied:?}");
        }
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

/// Ports below those that the system hands out by itself, and above those of `scripts/services`.
/// Test runs that begin together have neighbouring process ids, and must not try the same port at
/// once: theirs lie far apart.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = u16::try_from(u64::from(std::process::id()) * 1_009 % 10_000).unwrap();
    loop {
        let port = 22_000 + (base + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One process of ours: its stores and its tasks.
pub(crate) struct Process {
    pub(crate) stores: RedisStores,
    tasks: Tasks,
}

impl Process {
    pub(crate) async fn start(server: &RedisServer, options: Options) -> Self {
        Self::connect(&server.url(), &options).await.unwrap()
    }

    /// On whatever this address names.
    pub(crate) async fn at(url: &str) -> Self {
        Self::try_at(url).await.unwrap()
    }

    /// On whatever this address names, or why it does not start.
    pub(crate) async fn try_at(url: &str) -> qunliu::store::Result<Self> {
        Self::connect(url, &options()).await
    }

    async fn connect(url: &str, options: &Options) -> qunliu::store::Result<Self> {
        let tasks = Tasks::default();
        let stores = RedisStores::connect(url, options, &tasks).await?;
        Ok(Self { stores, tasks })
    }

    /// Ends as a crash would: nothing is given back.
    pub(crate) async fn die(self) {
        self.tasks
            .stop(Duration::ZERO, std::future::ready(()))
            .await;
    }
}

/// The answer of a call, made again while the server is away.
pub(crate) async fn eventually<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = qunliu::store::Result<T>>,
{
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    let calling = async {
        loop {
            poll.tick().await;
            match call().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, calling)
        .await
        .expect("the server does not answer")
}

/// A key of a group, by the letter of its kind.
pub(crate) fn key(kind: char, group: GroupId) -> String {
    format!("{kind}{{{}}}:{group}", group.partition())
}

/// Options for a Redis whose user may not read its settings.
pub(crate) fn options() -> Options {
    Options {
        appendfsync_assured: true,
        ..Options::default()
    }
}

/// The same as a key of a program's environment.
pub(crate) const ASSURED: (&str, &str) = ("QUNLIU_REDIS_APPENDFSYNC_ASSURED", "true");

/// A log of a Redis of its own.
pub(crate) async fn log_subject() -> Option<log::Subject> {
    let server = RedisServer::start().await?;
    let process = server.process().await;
    let log = process.stores.log.clone();
    Some(log::Subject {
        log,
        _keep: Box::new((process, server)),
    })
}

/// A log with consumers of a Redis of its own.
pub(crate) async fn consumers_subject() -> Option<consumers::Subject> {
    let server = RedisServer::start().await?;
    let process = server.process().await;
    let (log, consumers) = (process.stores.log.clone(), process.stores.consumers.clone());
    Some(consumers::Subject {
        log,
        consumers,
        _keep: Box::new((process, server)),
    })
}

/// Cards of a Redis of its own.
pub(crate) async fn cards_subject() -> Option<cards::Subject> {
    let server = RedisServer::start().await?;
    let process = server.process().await;
    let cards = process.stores.cards.clone();
    Some(cards::Subject {
        cards,
        _keep: Box::new((process, server)),
    })
}

/// Signals of a Redis of its own.
pub(crate) async fn signals_subject() -> Option<signals::Subject> {
    let server = RedisServer::start().await?;
    let process = server.process().await;
    let signals = process.stores.signals.clone();
    Some(signals::Subject {
        signals,
        _keep: Box::new((process, server)),
    })
}

/// Two processes that share a Redis of their own.
pub(crate) async fn presence_subject() -> Option<presence::Subject> {
    let server = RedisServer::start().await?;
    let (one, two) = (server.process().await, server.process().await);
    Some(presence::Subject {
        processes: vec![one.stores.presence.clone(), two.stores.presence.clone()],
        _keep: Box::new((one, two, server)),
    })
}
