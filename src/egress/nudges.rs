//! Signals from other nodes and from this one: read marks, new members. All of them may be lost;
//! when that is known, what they would have told is read again. Watermarks are heard by
//! [`super::receipts`], which nothing here may hold up.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::attach::Attach;
use super::hub::Hub;
use crate::error::Result;
use crate::model::id::{GroupId, SessionId, UserId};
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
        while let Some(signal) = stop.run_until_cancelled(signals.recv()).await {
            let signal = match signal {
                Ok(signal) => signal,
                Err(RecvError::Lagged(_)) => Signal::Lost,
                Err(RecvError::Closed) => return,
            };
            if let Err(error) = self.act(signal).await {
                tracing::debug!(%error, "a signal is made up for later");
            }
        }
    }

    async fn act(&self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Stored(..) => {}
            Signal::Read {
                user,
                session,
                group,
                ..
            } => {
                self.tell_heads(user, Some(session), &[group]).await?;
            }
            Signal::Joined(user, group, _) => self.attach.joined(user, group).await?,
            Signal::Lost => self.make_up().await?,
        }
        Ok(())
    }

    /// Tells the user's sockets, but for those of `knows`, what the groups are at for them.
    async fn tell_heads(
        &self,
        user: UserId,
        knows: Option<SessionId>,
        groups: &[GroupId],
    ) -> Result<()> {
        let Some(user) = self.hub.user(user) else {
            return Ok(());
        };
        let mut sockets = user.sockets();
        sockets.retain(|socket| Some(socket.caller.session) != knows);
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
            self.tell_heads(user.id, None, &ids).await?;
        }
        Ok(())
    }
}
