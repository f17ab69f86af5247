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
use crate::model::position::Position;
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
            if stop
                .run_until_cancelled(self.hub.sessions.fresh())
                .await
                .is_none()
            {
                return;
            }
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
            Signal::Read { user, group, pos } => self.tell_read(user, group, pos).await?,
            Signal::Joined(user, group, _) => self.attach.joined(user, group).await?,
            Signal::Lost => self.make_up().await?,
        }
        Ok(())
    }

    /// Who has read all that was pushed here has nothing unread there, which no store need be asked
    /// for.
    async fn tell_read(&self, user: UserId, group: GroupId, read: Position) -> Result<()> {
        let reached = self.hub.group(group).map(|local| local.reached().pos);
        match reached.filter(|reached| reached.epoch == read.epoch && *reached <= read) {
            Some(reached) => self.tell(user, &[(group, reached, 0, 0)]),
            None => self.tell_heads(user, &[group]).await?,
        }
        Ok(())
    }

    /// Tells the user's sockets what the groups are at for them.
    async fn tell_heads(&self, user: UserId, groups: &[GroupId]) -> Result<()> {
        if self.hub.user(user).is_some() {
            let heads = self.hub.heads_for(user, groups).await?;
            self.tell(user, &heads);
        }
        Ok(())
    }

    /// Tells all of the user's sockets, for two tabs share a log-in, and the one that knows already
    /// loses nothing. One that arrives is told by its welcome, and nothing may come before that.
    fn tell(&self, user: UserId, heads: &[(GroupId, Position, u64, u64)]) {
        let Some(user) = self.hub.user(user) else {
            return;
        };
        user.for_each_socket(|socket| {
            socket.tell_heads(heads);
        });
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
