//! Who is here: people with a greeted socket on this node are said to be, to the store that knows
//! it for all nodes, and members of their groups are told when somebody comes or goes.
//!
//! The hub notes who came and who went; the [`Keeper`] carries that out a moment later, so that
//! of much coming and going only the last counts. Who went is here for a while yet: a client that
//! comes back within it was never gone. People of a node that died are taken off by those that
//! live. What fails is done again with the next round; a hint that is lost is not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::group::lock;
use super::hints::Hints;
use super::hub::Hub;
use crate::clock::every;
use crate::error::Result;
use crate::model::hint::HintKind;
use crate::model::id::{GroupId, UserId};
use crate::store;
use crate::store::directory::Directory;
use crate::store::presence::{Presence, USERS_MAX};

/// How often what was noted is carried out.
const ROUND: Duration = Duration::from_millis(500);

/// Who came and who went since the last round.
#[derive(Default)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    /// The last that was noted of each.
    moves: HashMap<UserId, Move>,
    /// Who became a member of what.
    joined: HashSet<(UserId, GroupId)>,
}

enum Move {
    Came,
    /// With the groups whose members are told of it.
    Went(Vec<GroupId>),
}

impl Notes {
    /// A socket of this person was greeted; saying it again changes nothing.
    pub(super) fn came(&self, user: UserId) {
        lock(&self.0).moves.insert(user, Move::Came);
    }

    /// The last socket of this person is gone.
    pub(super) fn went(&self, user: UserId, groups: Vec<GroupId>) {
        lock(&self.0).moves.insert(user, Move::Went(groups));
    }

    /// Somebody with a socket here became a member, and its others are to know of that socket.
    pub(super) fn joined(&self, user: UserId, group: GroupId) {
        lock(&self.0).joined.insert((user, group));
    }

    fn take(&self) -> Noted {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// Somebody without a socket, who may come back.
struct Leaving {
    until: Instant,
    groups: Vec<GroupId>,
}

/// Keeps the store's knowledge of who is at this node.
pub struct Keeper {
    hub: Arc<Hub>,
    presence: Arc<dyn Presence>,
    directory: Arc<dyn Directory>,
    hints: Hints,
    /// Those whom the store may believe to be here.
    here: HashSet<UserId>,
    /// Of those, whom it was not told yet for certain.
    arriving: HashSet<UserId>,
    /// Of those, who have no socket any more.
    leaving: HashMap<UserId, Leaving>,
    beat_at: Instant,
}

impl Keeper {
    /// Nobody is here yet.
    pub fn new(
        hub: Arc<Hub>,
        presence: Arc<dyn Presence>,
        directory: Arc<dyn Directory>,
        hints: Hints,
    ) -> Self {
        Self {
            hub,
            presence,
            directory,
            hints,
            here: HashSet::new(),
            arriving: HashSet::new(),
            leaving: HashMap::new(),
            beat_at: Instant::now(),
        }
    }

    /// Runs until `stop`. Who is here then counts until the store misses this process, so that
    /// clients have the time to come to another.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut round = every(ROUND);
        while stop.run_until_cancelled(round.tick()).await.is_some() {
            self.take_notes();
            let Some(done) = stop.run_until_cancelled(self.carry_out()).await else {
                return;
            };
            if let Err(error) = done {
                tracing::debug!(%error, "who is here is said again");
            }
        }
    }

    fn take_notes(&mut self) {
        let grace = Duration::from_secs(self.hub.options.offline_after_s);
        let Noted { moves, joined } = self.hub.notes.take();
        for (user, group) in joined {
            if self.here.contains(&user) && self.hub.is_hinted(group) {
                self.hints.offer(HintKind::Online, user, vec![group]);
            }
        }
        for (user, moved) in moves {
            match moved {
                Move::Came => {
                    self.leaving.remove(&user);
                    if self.here.insert(user) {
                        self.arriving.insert(user);
                    }
                }
                Move::Went(groups) => {
                    let until = Instant::now() + grace;
                    if self.here.contains(&user) {
                        self.leaving.insert(user, Leaving { until, groups });
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self) -> store::Result<()> {
        if Instant::now() >= self.beat_at {
            self.beat().await?;
        }
        self.arrive().await?;
        self.depart().await?;
        self.bury().await?;
        let here = i64::try_from(self.here.len()).unwrap_or(i64::MAX);
        self.hub.metrics.users_here.set(here);
        Ok(())
    }

    /// A process that was not known to live arrives with all its people anew.
    async fn beat(&mut self) -> store::Result<()> {
        let asked = Instant::now();
        if !self.presence.beat().await? {
            self.arriving.extend(&self.here);
        }
        self.beat_at = asked + self.presence.beat_every();
        Ok(())
    }

    async fn arrive(&mut self) -> store::Result<()> {
        let arriving: Vec<UserId> = self.arriving.iter().copied().collect();
        for users in arriving.chunks(USERS_MAX) {
            let new = self.presence.arrive(users).await?;
            for user in users {
                self.arriving.remove(user);
            }
            for user in new {
                let groups = self.hub.hinted_groups(user);
                self.hints.offer(HintKind::Online, user, groups);
            }
        }
        Ok(())
    }

    async fn depart(&mut self) -> store::Result<()> {
        let now = Instant::now();
        let due = self
            .leaving
            .iter()
            .filter(|(_, leaving)| leaving.until <= now);
        let due: Vec<UserId> = due.map(|(user, _)| *user).collect();
        for users in due.chunks(USERS_MAX) {
            let gone: HashSet<UserId> = self.presence.depart(users).await?.into_iter().collect();
            for user in users {
                self.here.remove(user);
                self.arriving.remove(user);
                let leaving = self.leaving.remove(user);
                if let Some(leaving) = leaving.filter(|_| gone.contains(user)) {
                    self.hints.offer(HintKind::Offline, *user, leaving.groups);
                }
            }
        }
        Ok(())
    }

    async fn bury(&self) -> store::Result<()> {
        for user in self.presence.bury().await? {
            let groups = self.directory.groups_of(user).await?.into_iter();
            let hinted = groups.filter(|(group, _)| self.hub.is_small(group.members));
            let hinted = hinted.map(|(group, _)| group.id).collect();
            self.hints.offer(HintKind::Offline, user, hinted);
        }
        Ok(())
    }
}

/// Tells who of a group's members is here. Cheap to clone.
#[derive(Clone)]
pub struct Online {
    hub: Arc<Hub>,
    presence: Arc<dyn Presence>,
    directory: Arc<dyn Directory>,
}

impl Online {
    /// By what this store knows.
    pub fn new(hub: Arc<Hub>, presence: Arc<dyn Presence>, directory: Arc<dyn Directory>) -> Self {
        Self {
            hub,
            presence,
            directory,
        }
    }

    /// The members of a group who are here, by id; `None` if the group is too large to be told.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn of(&self, group: GroupId) -> Result<Option<Vec<UserId>>> {
        let found = self.directory.groups(&[group]).await?;
        let size = found.first().map_or(0, |group| group.members);
        if !self.hub.is_small(size) {
            return Ok(None);
        }
        let most = u32::try_from(USERS_MAX).unwrap_or(u32::MAX);
        let members = self.directory.members(group, None, most).await?;
        let members: Vec<UserId> = members.into_iter().map(|member| member.user).collect();
        let mut online = self.presence.online(&members).await?;
        // Who came to this node a moment ago is not known to the store yet.
        let known: HashSet<UserId> = online.iter().copied().collect();
        let is_new = |user: &UserId| !known.contains(user) && self.hub.user(*user).is_some();
        online.extend(members.into_iter().filter(is_new));
        Ok(Some(online))
    }
}
