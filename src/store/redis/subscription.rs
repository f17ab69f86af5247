//! A subscription of one process to channels that carry JSON lists: what comes is handed on to
//! whoever listens in this process; what a newer version added is passed over. It is made again
//! when it breaks, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value, cmd};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::fault::fault;
use super::links::Links;
use super::topology::home::Home;
use crate::store::Result;

/// What is kept for a slow receiver (the promise of both traits).
const KEPT: usize = 4_096;
/// How often an idle connection is asked whether it still is one.
const PING: Duration = Duration::from_secs(5);

/// Keeps the subscription of one process.
pub(super) struct Subscription<T> {
    links: Arc<Links>,
    patterns: &'static [&'static str],
    heard: broadcast::Sender<T>,
    /// What is said after a reconnect, if anything.
    lost: Option<T>,
    line: Option<Line>,
    /// How often it subscribed: each time at another server, for one hears what all are told.
    turn: usize,
}

/// One subscribed connection.
struct Line {
    connection: MultiplexedConnection,
    over: Arc<Notify>,
}

impl<T: DeserializeOwned + Clone + Send + 'static> Subscription<T> {
    /// Subscribes. Everything published after this returned is heard.
    pub(super) async fn begin(
        links: Arc<Links>,
        patterns: &'static [&'static str],
        lost: Option<T>,
    ) -> Result<Self> {
        let mut begun = Self {
            links,
            patterns,
            heard: broadcast::Sender::new(KEPT),
            lost,
            line: None,
            turn: 0,
        };
        begun.line = Some(begun.subscribe().await.map_err(fault)?);
        Ok(begun)
    }

    /// Where to listen.
    pub(super) fn heard(&self) -> broadcast::Sender<T> {
        self.heard.clone()
    }

    /// Listens until the server drains.
    pub(super) async fn run(mut self, draining: CancellationToken) {
        tokio::select! {
            () = draining.cancelled() => {}
            () = self.keep() => {}
        }
    }

    /// After a reconnect it is said that something may have been lost, and only then, so that who
    /// reads the truth again on that misses nothing.
    async fn keep(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            if let Some(line) = self.line.take() {
                line.last().await;
            }
            match self.subscribe().await {
                Ok(line) => {
                    backoff.succeed();
                    self.line = Some(line);
                    if let Some(lost) = self.lost.clone() {
                        // Nobody listening is no failure.
                        let _receivers = self.heard.send(lost);
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error, "subscribing failed; trying again");
                    backoff.fail();
                    backoff.pause().await;
                }
            }
        }
    }

    async fn subscribe(&mut self) -> RedisResult<Line> {
        let map = self.links.topology.map();
        let shard = map.shards().iter().cycle().nth(self.turn);
        let shard = shard.unwrap_or_else(|| map.shard(Home::Leases));
        self.turn = (self.turn + 1) % map.shards().len();
        let over = Arc::new(Notify::new());
        let (heard, ended) = (self.heard.clone(), Arc::clone(&over));
        let ear = move |push: PushInfo| -> std::result::Result<(), redis::aio::SendError> {
            match push.kind {
                PushKind::PMessage => hear(&heard, push.data.get(2)),
                PushKind::Disconnection => ended.notify_one(),
                _ => {}
            }
            Ok(())
        };
        let mut connection = shard.dial.connect_with(ear).await?;
        connection.psubscribe(self.patterns).await?;
        Ok(Line { connection, over })
    }
}

impl Line {
    /// Waits until the connection ends or does not answer.
    async fn last(mut self) {
        loop {
            tokio::select! {
                () = self.over.notified() => return,
                () = tokio::time::sleep(PING) => {}
            }
            if self
                .connection
                .send_packed_command(&cmd("PING"))
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

fn hear<T: DeserializeOwned>(heard: &broadcast::Sender<T>, message: Option<&Value>) {
    let Some(Value::BulkString(message)) = message else {
        return;
    };
    let list: Vec<serde_json::Value> = serde_json::from_slice(message).unwrap_or_default();
    for said in list
        .into_iter()
        .filter_map(|said| serde_json::from_value(said).ok())
    {
        // Nobody listening is no failure.
        let _receivers = heard.send(said);
    }
}
