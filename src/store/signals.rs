//! What is worth telling at once and not worth keeping: nudges between nodes. A lost signal only
//! delays; whoever relies on one reads the truth again now and then.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::Result;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;

/// One nudge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Everything valid of the group up to here is stored.
    Stored(GroupId, Position),
    /// The user read up to here.
    Read {
        /// Who.
        user: UserId,
        /// In which group.
        group: GroupId,
        /// Up to where.
        pos: Position,
    },
    /// The user became a member, by the event at this position.
    Joined(UserId, GroupId, Position),
    /// Signals may have been lost: the connection was made again. Only [`Signals::listen`]
    /// yields it; it is never published.
    #[serde(skip)]
    Lost,
}

/// Publishes and receives nudges.
#[async_trait]
pub trait Signals: Send + Sync {
    /// Tells every node, this one included.
    ///
    /// # Errors
    /// `Unavailable`: nobody, or not everybody, was told.
    async fn publish(&self, signals: &[Signal]) -> Result<()>;

    /// All signals from now on. Holds the newest 4,096; a receiver that lags loses the oldest
    /// and must treat that as [`Signal::Lost`].
    fn listen(&self) -> broadcast::Receiver<Signal>;
}
