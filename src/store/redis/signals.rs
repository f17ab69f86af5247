//! Nudges over Redis Pub/Sub: `stored{all}` for watermarks, `user:u_…` for each person. A
//! message is a JSON list of [`Signal`]s; what a newer version added is passed over.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use redis::cmd;
use tokio::sync::broadcast;

use super::fault::corrupt;
use super::keys;
use super::links::Links;
use super::subscription::Subscription;
use super::topology::home::Home;
use super::topology::shard::Lane;
use crate::store::Result;
use crate::store::signals::{Signal, Signals};

/// Signals through one Redis.
#[derive(Debug)]
pub(super) struct RedisSignals {
    links: Arc<Links>,
    heard: broadcast::Sender<Signal>,
}

#[async_trait]
impl Signals for RedisSignals {
    async fn publish(&self, signals: &[Signal]) -> Result<()> {
        let mut messages: HashMap<Cow<'static, str>, Vec<&Signal>> = HashMap::new();
        for signal in signals {
            if let Some(channel) = channel(signal) {
                messages.entry(channel).or_default().push(signal);
            }
        }
        let mut publishing = Vec::new();
        for (channel, signals) in messages {
            let text = serde_json::to_vec(&signals).map_err(|error| corrupt(error.to_string()))?;
            let mut publish = cmd("PUBLISH");
            publish.arg(channel.as_ref()).arg(text);
            // The servers of a cluster tell each other, so any would do.
            publishing.push((Home::Leases, publish));
        }
        self.links.all(Lane::Reads, &publishing).await?;
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        self.heard.subscribe()
    }
}

/// Where a signal is published; [`Signal::Lost`] never is.
fn channel(signal: &Signal) -> Option<Cow<'static, str>> {
    match signal {
        Signal::Stored(..) => Some(keys::STORED.into()),
        Signal::Read { user, .. } | Signal::Joined(user, _, _) => {
            Some(keys::user_channel(*user).into())
        }
        Signal::Lost => None,
    }
}

impl RedisSignals {
    /// Subscribes. Everything published after this returned is heard.
    pub(super) async fn connect(links: Arc<Links>) -> Result<(Self, Subscription<Signal>)> {
        let lost = Some(Signal::Lost);
        let listener = Subscription::begin(Arc::clone(&links), keys::CHANNELS, lost).await?;
        let heard = listener.heard();
        Ok((Self { links, heard }, listener))
    }
}
