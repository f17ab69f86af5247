//! Nudges over Redis Pub/Sub: `stored{a0}` for each partition, `user:u_…` for each person. A
//! message is a JSON list of [`Signal`]s; what a newer version added is passed over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, RedisResult, Value, cmd, pipe};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::dial::Backoff;
use super::fault::{corrupt, fault};
use super::keys;
use super::links::{Links, all};
use crate::store::Result;
use crate::store::signals::{Signal, Signals};

/// Signals kept for a slow receiver (the trait's promise).
const KEPT: usize = 1_024;
/// How often an idle connection is asked whether it still is one.
const PING: Duration = Duration::from_secs(5);

/// Signals through one Redis.
#[derive(Debug)]
pub(super) struct RedisSignals {
    links: Arc<Links>,
    heard: broadcast::Sender<Signal>,
}

#[async_trait]
impl Signals for RedisSignals {
    async fn publish(&self, signals: &[Signal]) -> Result<()> {
        let mut messages: Vec<(String, Vec<&Signal>)> = Vec::new();
        for signal in signals {
            let Some(channel) = channel(signal) else {
                continue;
            };
            match messages.iter_mut().find(|(known, _)| *known == channel) {
                Some((_, list)) => list.push(signal),
                None => messages.push((channel, vec![signal])),
            }
        }
        let mut publishing = pipe();
        for (channel, signals) in messages {
            let text = serde_json::to_vec(&signals).map_err(|error| corrupt(error.to_string()))?;
            publishing.cmd("PUBLISH").arg(channel).arg(text);
        }
        all(self
            .links
            .reads
            .commands(&publishing)
            .await
            .map_err(fault)?)?;
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        self.heard.subscribe()
    }
}

/// Where a signal is published; [`Signal::Lost`] never is.
fn channel(signal: &Signal) -> Option<String> {
    match signal {
        Signal::Stored(group, _) => Some(keys::stored_channel(group.partition())),
        Signal::Read { user, .. } | Signal::Joined(user, _, _) => Some(keys::user_channel(*user)),
        Signal::Lost => None,
    }
}

impl RedisSignals {
    /// Subscribes. Everything published after this returned is heard.
    pub(super) async fn connect(links: Arc<Links>) -> Result<(Self, Listener)> {
        let heard = broadcast::Sender::new(KEPT);
        let mut listener = Listener {
            links: Arc::clone(&links),
            heard: heard.clone(),
            line: None,
        };
        listener.line = Some(listener.subscribe().await.map_err(fault)?);
        Ok((Self { links, heard }, listener))
    }
}

/// Keeps the subscription of one process.
pub(super) struct Listener {
    links: Arc<Links>,
    heard: broadcast::Sender<Signal>,
    line: Option<Line>,
}

/// One subscribed connection.
struct Line {
    connection: MultiplexedConnection,
    over: Arc<Notify>,
}

impl Listener {
    /// Listens until the server drains.
    pub(super) async fn run(mut self, draining: CancellationToken) {
        tokio::select! {
            () = draining.cancelled() => {}
            () = self.keep() => {}
        }
    }

    /// After a reconnect it is said that signals may have been lost, and only then, so that who
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
                    // Nobody listening is no failure.
                    let _receivers = self.heard.send(Signal::Lost);
                }
                Err(error) => {
                    tracing::debug!(error = %error, "subscribing failed; trying again");
                    backoff.fail();
                    backoff.pause().await;
                }
            }
        }
    }

    async fn subscribe(&self) -> RedisResult<Line> {
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
        let mut connection = self.links.dial.connect_with(ear).await?;
        connection.psubscribe(&keys::CHANNELS[..]).await?;
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

fn hear(heard: &broadcast::Sender<Signal>, message: Option<&Value>) {
    let Some(Value::BulkString(message)) = message else {
        return;
    };
    let list: Vec<serde_json::Value> = serde_json::from_slice(message).unwrap_or_default();
    for signal in list
        .into_iter()
        .filter_map(|signal| serde_json::from_value(signal).ok())
    {
        // Nobody listening is no failure.
        let _receivers = heard.send(signal);
    }
}
