//! Signals from other nodes and from this one: read marks, new members. All of them may be lost;
//! when that is known, what they would have told is read again. Inputs of the loop: the stop,
//! signals, users who were expelled here. Watermarks are heard by
//! [`super::receipts`], which nothing here may hold up.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::attach::Attach;
use super::hub::Hub;
use crate::error::Result;
use crate::model::id::{GroupId, UserId};
use crate::protocol::server::ServerFrame;
use crate::store::directory::Directory;
use crate::store::signals::Signal;

/// Acts on signals.
pub struct Nudges {
    /// Whose listeners are told.
    pub hub: Arc<Hub>,
    /// How new members listen.
    pub attach: Attach,
    /// What is read again when signals were lost.
    pub directory: Arc<dyn Directory>,
}

impl Nudges {
    /// Runs until `stop`.
    pub async fn run(self, mut signals: Receiver<Signal>, stop: CancellationToken) {
        loop {
            let acted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                signal = signals.recv() => match signal {
                    Ok(signal) => self.act(signal).await,
                    Err(RecvError::Lagged(_)) => self.act(Signal::Lost).await,
                    Err(RecvError::Closed) => return,
                },
                expelled = self.hub.expelled() => self.look_again(expelled).await,
            };
            if let Err(error) = acted {
                tracing::debug!(%error, "a signal is made up for later");
            }
        }
    }

    /// The signal that tells of a new membership may come before the old one's end was pushed.
    async fn look_again(&self, expelled: HashSet<(UserId, GroupId)>) -> Result<()> {
        for (user, group) in expelled {
            self.attach.joined(user, group).await?;
        }
        Ok(())
    }

    async fn act(&self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Stored(..) => {}
            Signal::Read { user, group, .. } => self.tell_heads(user, &[group]).await?,
            Signal::Joined(user, group, _) => self.attach.joined(user, group).await?,
            Signal::Lost => self.make_up().await?,
        }
        Ok(())
    }

    /// Tells the user's sockets what the groups are at for them: all of them, for two tabs share a
    /// log-in, and the one that knows already loses nothing.
    async fn tell_heads(&self, user: UserId, groups: &[GroupId]) -> Result<()> {
        let Some(user) = self.hub.user(user) else {
            return Ok(());
        };
        let mut sockets = user.sockets();
        sockets.retain(|socket| socket.is_welcomed());
        if sockets.is_empty() {
            return Ok(());
        }
        let heads = self.hub.heads_for(user.id, groups).await?;
        // One that arrives is told by its welcome, and nothing may come before that.
        sockets.retain(|socket| !socket.holds_back());
        sockets
            .iter()
            .for_each(|socket| socket.send(&ServerFrame::Heads { heads: &heads }));
        Ok(())
    }

    /// Watermarks are swept anyway; memberships and read marks are looked at for every local
    /// user.
    async fn make_up(&self) -> Result<()> {
        for user in self.hub.users() {
            let groups = self.directory.groups_of(user.id).await?;
            let ids: Vec<GroupId> = groups.iter().map(|(group, _)| group.id).collect();
            for group in &ids {
                self.attach.joined(user.id, *group).await?;
            }
            self.tell_heads(user.id, &ids).await?;
        }
        Ok(())
    }
}
