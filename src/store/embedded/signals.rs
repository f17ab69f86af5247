//! Nudges within this process: there is no other node to tell.

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::store::Result;
use crate::store::signals::{Signal, Signals};

/// How many signals a receiver may lag behind before it loses the oldest.
const SIGNALS_MAX: usize = 4096;

/// Nudges of this process to itself.
#[derive(Debug)]
pub struct EmbeddedSignals {
    sender: broadcast::Sender<Signal>,
}

impl Default for EmbeddedSignals {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(SIGNALS_MAX),
        }
    }
}

#[async_trait]
impl Signals for EmbeddedSignals {
    /// That nobody listens is no error: a signal is never kept.
    async fn publish(&self, signals: &[Signal]) -> Result<()> {
        if self.sender.receiver_count() > 0 {
            for signal in signals {
                drop(self.sender.send(signal.clone()));
            }
        }
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Signal> {
        self.sender.subscribe()
    }
}
