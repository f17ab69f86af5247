//! Who listens to what on this node: group → local users → their sockets. Knows no group without
//! a listener, and tells the tail which groups to follow.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Options;
use super::group::{LocalGroup, LocalUser, Reached, lock};
use super::presence::Notes;
use super::socket::{Socket, SocketId};
use crate::access::sessions::Sessions;
use crate::model::id::{GroupId, SessionId, UserId};
use crate::model::position::{Epoch, Position};
use crate::model::unread::unread_since;
use crate::protocol::code::close;
use crate::store::Result;
use crate::store::counts::{Count, Counts};
use crate::store::history::History;
use crate::telemetry::Metrics;

/// How often it is looked whether listeners were told an epoch.
const TOLD_PAUSE: Duration = Duration::from_millis(5);

/// The listeners of this node.
pub struct Hub {
    /// The bounds of this folder.
    pub options: Options,
    pub(super) counts: Counts,
    history: History,
    pub(super) metrics: Metrics,
    /// Whether user data may go out.
    pub(super) sessions: Sessions,
    /// Who came and who went.
    pub(super) notes: Notes,
    groups: Mutex<HashMap<GroupId, Arc<LocalGroup>>>,
    users: Mutex<HashMap<UserId, Arc<LocalUser>>>,
    sockets: Mutex<HashMap<SocketId, Arc<Socket>>>,
    wanted: Mutex<HashMap<GroupId, Option<Position>>>,
    changed: Notify,
    expelled: Mutex<HashSet<(UserId, GroupId)>>,
    expelled_some: Notify,
    next_socket: AtomicU64,
    started: Instant,
}

impl Hub {
    /// A hub without listeners.
    pub fn new(
        options: Options,
        counts: Counts,
        history: History,
        metrics: Metrics,
        sessions: Sessions,
    ) -> Self {
        Self {
            options,
            counts,
            history,
            metrics,
            sessions,
            notes: Notes::default(),
            groups: Mutex::default(),
            users: Mutex::default(),
            sockets: Mutex::default(),
            wanted: Mutex::default(),
            changed: Notify::new(),
            expelled: Mutex::default(),
            expelled_some: Notify::new(),
            next_socket: AtomicU64::new(1),
            started: Instant::now(),
        }
    }

    /// What is known of ended sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// A number for a new socket.
    pub fn next_socket_id(&self) -> SocketId {
        self.next_socket.fetch_add(1, Ordering::Relaxed)
    }

    /// Seconds since the hub was made: the clock of signs of life.
    pub fn now_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// A local user.
    pub fn user(&self, id: UserId) -> Option<Arc<LocalUser>> {
        lock(&self.users).get(&id).cloned()
    }

    /// All local users.
    pub fn users(&self) -> Vec<Arc<LocalUser>> {
        lock(&self.users).values().cloned().collect()
    }

    /// All sockets.
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        lock(&self.sockets).values().cloned().collect()
    }

    /// How many sockets there are.
    pub fn socket_count(&self) -> usize {
        lock(&self.sockets).len()
    }

    /// A group with local listeners.
    pub fn group(&self, id: GroupId) -> Option<Arc<LocalGroup>> {
        lock(&self.groups).get(&id).cloned()
    }

    /// The epoch of a group that a socket was told, if it can be relied on.
    pub fn told(&self, socket: &Socket, group: GroupId) -> Option<Epoch> {
        let epoch = self.group(group)?.told();
        (!socket.lags_in(group)).then_some(epoch)
    }

    /// Whether things of an epoch may be sent to a socket now: it was told of the epoch, if what
    /// happens in the group is pushed to it.
    pub fn may_send(&self, socket: &Socket, group: GroupId, epoch: Epoch) -> bool {
        let local = self.group(group);
        local.is_none_or(|local| local.told() >= epoch) && socket.catch_up_epochs(group)
    }

    /// Waits for [`Hub::may_send`], for so long; answers whether it came to that.
    pub async fn until_told(
        &self,
        socket: &Socket,
        (group, epoch): (GroupId, Epoch),
        patience: Duration,
    ) -> bool {
        let told = async {
            while !self.may_send(socket, group, epoch) {
                tokio::time::sleep(TOLD_PAUSE).await;
            }
        };
        tokio::time::timeout(patience, told).await.is_ok()
    }

    /// Whether members of a group of this size are told things in passing.
    pub fn is_small(&self, members: u64) -> bool {
        members <= self.options.signals_members_max
    }

    /// Notes how many members a group has, if anybody listens to it.
    pub(super) fn note_members(&self, group: GroupId, members: u64) {
        if let Some(local) = self.group(group) {
            local.note_members(members);
        }
    }

    pub(super) fn hints_in(&self, local: &LocalGroup) -> bool {
        self.is_small(local.members())
    }

    pub(super) fn is_hinted(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|local| self.hints_in(&local))
    }

    /// The groups in which things are told in passing of a local user.
    pub(super) fn hinted_groups(&self, user: UserId) -> Vec<GroupId> {
        let Some(user) = self.user(user) else {
            return Vec::new();
        };
        let groups = user.groups().into_iter();
        groups.filter(|group| self.is_hinted(*group)).collect()
    }

    /// Registers a socket; those that it replaces are closed with 4409.
    pub(super) fn enter(&self, socket: &Arc<Socket>) -> Arc<LocalUser> {
        let id = socket.caller.user;
        lock(&self.sockets).insert(socket.id, Arc::clone(socket));
        let mut users = lock(&self.users);
        let user = users
            .entry(id)
            .or_insert_with(|| Arc::new(LocalUser::new(id)));
        let user = Arc::clone(user);
        let replaced = user.add(Arc::clone(socket), self.options.sockets_per_user);
        drop(users);
        for old in replaced {
            old.close(close::REPLACED, "replaced by a newer socket");
        }
        user
    }

    /// Forgets a socket, and with the last one its user.
    pub fn leave(&self, socket: &Socket) {
        lock(&self.sockets).remove(&socket.id);
        let mut users = lock(&self.users);
        let Some(user) = users.get(&socket.caller.user).cloned() else {
            return;
        };
        if user.remove(socket) {
            return;
        }
        users.remove(&user.id);
        let mut groups = lock(&self.groups);
        let mut hinted = user.take_groups();
        hinted.retain(|group| {
            let is_hinted = groups.get(group).is_some_and(|local| self.hints_in(local));
            self.remove_listener(&mut groups, *group, user.id);
            is_hinted
        });
        self.notes.went(user.id, hinted);
    }

    /// Closes the sockets of a session that was ended.
    pub(super) fn revoke(&self, user: UserId, session: SessionId) {
        let Some(user) = self.user(user) else { return };
        user.for_each_socket(|socket| {
            if socket.caller.session == session {
                socket.close(close::REVOKED, "session revoked");
            }
        });
    }

    /// Makes a user listen to a group that [`Hub::know`] answered.
    pub(super) fn join(&self, user: &Arc<LocalUser>, group: GroupId, reached: Reached) {
        let mut groups = lock(&self.groups);
        let local = groups.entry(group).or_insert_with(|| {
            self.want(group, Some(reached.pos));
            self.metrics.groups_tailed.inc();
            Arc::new(LocalGroup::new(group, reached))
        });
        if user.note(group) {
            local.add(Arc::clone(user));
        }
    }

    /// Ends a user's listening; the client is told when the membership is `gone`.
    pub(super) fn part(&self, user: &LocalUser, group: GroupId) {
        let mut groups = lock(&self.groups);
        self.remove_listener(&mut groups, group, user.id);
        drop(groups);
        user.unnote(group);
        user.for_each_socket(|socket| socket.forget(group));
    }

    /// As [`Hub::part`], and tells the user's sockets. The user may have been added again since:
    /// [`Hub::expelled`] lets that be looked at.
    pub(super) fn expel(&self, user: UserId, group: GroupId) {
        let Some(user) = self.user(user) else { return };
        self.part(&user, group);
        user.for_each_socket(|socket| socket.tell_gone(group));
        lock(&self.expelled).insert((user.id, group));
        self.expelled_some.notify_one();
    }

    /// Who was expelled from where since the last call; waits until there is someone. Cancel safe.
    pub(super) async fn expelled(&self) -> HashSet<(UserId, GroupId)> {
        loop {
            let expelled = std::mem::take(&mut *lock(&self.expelled));
            if !expelled.is_empty() {
                return expelled;
            }
            self.expelled_some.notified().await;
        }
    }

    fn remove_listener(
        &self,
        groups: &mut HashMap<GroupId, Arc<LocalGroup>>,
        group: GroupId,
        user: UserId,
    ) {
        let empty = groups.get(&group).is_some_and(|local| !local.remove(user));
        if empty && groups.remove(&group).is_some() {
            self.want(group, None);
            self.metrics.groups_tailed.dec();
        }
    }

    /// Where listening to `groups` would begin: where the group is, if somebody listens already,
    /// else its head and epoch table as they are now.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn know(&self, groups: &[GroupId]) -> Result<Vec<(GroupId, Reached)>> {
        let known = |group: &GroupId| self.group(*group).map(|local| (*group, local.reached()));
        let mut found: HashMap<GroupId, Reached> = groups.iter().filter_map(known).collect();
        let fresh: Vec<_> = groups
            .iter()
            .copied()
            .filter(|g| !found.contains_key(g))
            .collect();
        if !fresh.is_empty() {
            // The head first: an epoch that begins after it is told by the tail.
            let heads = self.counts.heads_of(&fresh).await?;
            let tables = self.history.tables(&fresh, &heads).await?;
            for ((group, head), table) in fresh.into_iter().zip(heads).zip(tables) {
                let pos = table.clamp(head.pos);
                found.insert(
                    group,
                    Reached {
                        pos,
                        count: head.count,
                        table,
                    },
                );
            }
        }
        Ok(groups
            .iter()
            .filter_map(|group| Some((*group, found.remove(group)?)))
            .collect())
    }

    /// What `groups` are at for a user, as the `heads` frame tells it: as of what was pushed on
    /// this node, so that no head is of an epoch that its listeners were not told.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn heads_for(
        &self,
        user: UserId,
        groups: &[GroupId],
    ) -> Result<Vec<(GroupId, Position, u64, u64)>> {
        let counts = self.counts.of(user, groups).await?;
        let told = |(group, count): (&GroupId, Count)| {
            let Count {
                head,
                unread,
                mentions,
                ..
            } = count;
            let reached = self.group(*group).map(|local| local.reached());
            match reached.filter(|reached| reached.pos < head.pos) {
                None => (*group, head.pos, unread, mentions),
                Some(reached) => {
                    let newer = head.count.saturating_sub(reached.count);
                    (*group, reached.pos, unread_since(unread, newer), mentions)
                }
            }
        };
        Ok(groups.iter().zip(counts).map(told).collect())
    }

    fn want(&self, group: GroupId, after: Option<Position>) {
        lock(&self.wanted).insert(group, after);
        self.changed.notify_one();
    }

    /// What the tail is to follow (from a position) or to leave since the last call; waits until
    /// there is something. Cancel safe.
    pub(super) async fn wanted(&self) -> HashMap<GroupId, Option<Position>> {
        loop {
            let wanted = std::mem::take(&mut *lock(&self.wanted));
            if !wanted.is_empty() {
                return wanted;
            }
            self.changed.notified().await;
        }
    }
}
