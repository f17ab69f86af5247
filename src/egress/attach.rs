//! A socket arrives, joins a group, follows a group: in this order, so that nothing falls between
//! what it missed and what is pushed to it.
//!
//! 1. Its pushes are held back.
//! 2. Its user listens to the groups.
//! 3. The membership is read again: a removal in between is seen by this read or by the tail.
//! 4. Where each group is pushed up to now is the head it is told.
//! 5. What it missed up to there is sent, then what was held back above there.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::group::{LocalGroup, LocalUser};
use super::hub::Hub;
use super::overview::{GroupView, Overview};
use super::own_groups::{Known, OwnGroups};
use super::recovery::{Recovery, Resume, Resumed};
use super::socket::{Socket, epoch_frame};
use crate::error::{Error, Result};
use crate::model::group::Membership;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::unread_since;
use crate::model::user::User;
use crate::protocol::client::{CURSORS_MAX, Level};
use crate::protocol::server::{GroupNow, GroupWelcome, ServerFrame, Verdict};
use crate::store::counts::Count;
use crate::store::directory::Directory;

/// How often, and how long each time, a tail that has not reached a `joined` event is waited for.
const JOIN_LOOKS: usize = 200;
const JOIN_PAUSE: Duration = Duration::from_millis(10);

/// Brings sockets into the hub.
#[derive(Clone)]
pub struct Attach {
    hub: Arc<Hub>,
    recovery: Recovery,
    directory: Arc<dyn Directory>,
    own_groups: OwnGroups,
    overview: Overview,
}

/// Leaves the hub when dropped, however the session ends.
pub struct Attached {
    hub: Arc<Hub>,
    socket: Arc<Socket>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.hub.leave(&self.socket);
    }
}

/// The groups of an arriving socket, ready to be told.
pub struct Arrival {
    /// What becomes of each group; those with a cursor first.
    pub groups: Vec<GroupWelcome>,
    resumed: Vec<Resumed>,
    heads: HashMap<GroupId, Position>,
    /// Until it is delivered nothing else may let go what is held back.
    _turn: OwnedMutexGuard<()>,
}

impl Attach {
    /// Attaches to this hub.
    pub fn new(
        hub: Arc<Hub>,
        recovery: Recovery,
        directory: Arc<dyn Directory>,
        own_groups: OwnGroups,
        overview: Overview,
    ) -> Self {
        Self {
            hub,
            recovery,
            directory,
            own_groups,
            overview,
        }
    }

    /// Registers a socket, whose pushes are held back; dropping the answer takes it out again.
    pub fn enter(&self, socket: &Arc<Socket>) -> Attached {
        self.hub.enter(socket);
        Attached {
            hub: Arc::clone(&self.hub),
            socket: Arc::clone(socket),
        }
    }

    /// Works out the welcome of an entered socket: whose it is, and the groups.
    ///
    /// # Errors
    /// A store does not answer, or too many arrive cold; the socket is still entered and holds its
    /// pushes back.
    pub async fn arrive(
        &self,
        socket: &Socket,
        cursors: &HashMap<GroupId, Position>,
    ) -> Result<(User, Arrival)> {
        let local = self.local(socket.caller.user)?;
        let turn = local.turn().await;
        let (user, known, _admitted) = self.own_groups.all(&local).await?;
        self.hub.notes.came(user.id);
        let cursor = |group: &GroupId| (*group, cursors.get(group).copied());
        let wanted: Vec<_> = known.keys().map(cursor).collect();
        let mut arrival = self.resume(&known, &wanted, true, turn).await?;
        let lost = cursors.keys().filter(|group| !known.contains_key(group));
        arrival.groups.extend(lost.map(|group| gone(*group)));
        Ok((user, arrival))
    }

    /// Follows groups at a level, from cursors: the `follow` frame. Pushes are held back until
    /// [`Attach::deliver`].
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn follow(
        &self,
        socket: &Socket,
        groups: &HashMap<GroupId, Option<Position>>,
        level: Level,
    ) -> Result<Arrival> {
        let user = self.local(socket.caller.user)?;
        let turn = user.turn().await;
        socket.hold();
        let named: HashSet<GroupId> = groups.keys().copied().collect();
        let known = self.own_groups.some(&user, &named).await?;
        let (own, foreign): (Vec<_>, Vec<_>) = groups
            .iter()
            .partition(|(group, _)| known.contains_key(group));
        own.iter()
            .for_each(|(group, _)| socket.set_level(**group, level));
        let wanted: Vec<_> = own.iter().map(|(group, at)| (**group, **at)).collect();
        let events = level == Level::Full;
        let mut arrival = self.resume(&known, &wanted, events, turn).await?;
        arrival
            .groups
            .extend(foreign.iter().map(|(group, _)| gone(**group)));
        Ok(arrival)
    }

    /// Verdicts and states for `wanted`, which the user listens to, and the missed `events` if they
    /// are asked for.
    async fn resume(
        &self,
        known: &Known,
        wanted: &[(GroupId, Option<Position>)],
        events: bool,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Arrival> {
        let mut arrival = Arrival {
            groups: Vec::new(),
            resumed: Vec::new(),
            heads: HashMap::new(),
            _turn: turn,
        };
        let mut resumes = Vec::with_capacity(wanted.len());
        let mut states = Vec::with_capacity(wanted.len());
        let mut active_at = Vec::with_capacity(wanted.len());
        for (group, cursor) in wanted {
            let Some((membership, count)) = known.get(group) else {
                continue;
            };
            let Some(local) = self.hub.group(*group) else {
                continue;
            };
            until_reached(&local, membership.joined).await;
            let reached = local.reached();
            arrival.heads.insert(*group, reached.pos);
            states.push(state(membership, count, reached.pos, reached.count));
            active_at.push(count.head.at);
            resumes.push(Resume {
                group: *group,
                cursor: *cursor,
                visible_after: membership.visible_after(),
                reached,
                events,
            });
        }
        let mut order: Vec<usize> = (0..resumes.len()).collect();
        order.sort_by_key(|index| (resumes[*index].cursor.is_none(), Reverse(active_at[*index])));
        let sorted: Vec<Resume> = order.iter().map(|index| resumes[*index].clone()).collect();
        let mut resumed = self.recovery.resume(&sorted).await?;
        for (resumed, index) in resumed.iter_mut().zip(order) {
            arrival.groups.push(welcome(resumed, states[index]));
        }
        arrival.resumed = resumed;
        Ok(arrival)
    }

    /// Sends what was missed, then what was held back. The welcome was sent before.
    pub fn deliver(&self, socket: &Socket, arrival: Arrival) {
        let Arrival {
            resumed,
            heads,
            _turn,
            ..
        } = arrival;
        for resumed in &resumed {
            for frame in resumed.missed.frames(resumed.group) {
                socket.send_text(&frame);
            }
        }
        socket.release(&heads);
    }

    /// A user may have become a member: the user's sockets are told, and listen from there.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn joined(&self, user: UserId, group: GroupId) -> Result<()> {
        let Some(user) = self.hub.user(user) else {
            return Ok(());
        };
        let _turn = user.turn().await;
        let sockets = user.sockets();
        let listens = self
            .hub
            .group(group)
            .is_some_and(|local| local.has(user.id));
        if listens || sockets.is_empty() || !self.is_member(user.id, group).await? {
            return Ok(());
        }
        sockets.iter().for_each(|socket| socket.hold());
        let told = self.tell_joined(&user, group, &sockets).await;
        let heads = told.as_ref().map_or_else(|_| HashMap::new(), Clone::clone);
        sockets.iter().for_each(|socket| socket.release(&heads));
        told.map(|_| ())
    }

    async fn is_member(&self, user: UserId, group: GroupId) -> Result<bool> {
        let membership = self.directory.membership(group, user).await?;
        Ok(membership.is_some_and(|membership| membership.joined.is_some()))
    }

    async fn tell_joined(
        &self,
        user: &Arc<LocalUser>,
        group: GroupId,
        sockets: &[Arc<Socket>],
    ) -> Result<HashMap<GroupId, Position>> {
        for (group, reached) in self.hub.know(&[group]).await? {
            self.hub.join(user, group, reached);
        }
        let Some(local) = self.hub.group(group) else {
            return Ok(HashMap::new());
        };
        let overview = self.overview.of(user.id, Some(&[group])).await?;
        let Some(mut state) = overview.into_iter().next() else {
            self.hub.part(user, group);
            sockets.iter().for_each(|socket| socket.drop_held(group));
            return Ok(HashMap::new());
        };
        until_reached(&local, Some(state.joined)).await;
        let reached = local.reached();
        let (head, rows) = (reached.pos, reached.rows_above(reached.pos));
        state.head = head;
        local.note_members(state.group.members);
        self.hub.notes.joined(user.id, group);
        let view =
            serde_json::value::to_raw_value(&GroupView::of(&state)).map_err(Error::internal)?;
        for socket in sockets {
            socket.send(&ServerFrame::Joined { group: &view });
            if !rows.is_empty() {
                socket.send_raw(&epoch_frame(group, &rows));
            }
        }
        Ok(HashMap::from([(group, head)]))
    }

    fn local(&self, user: UserId) -> Result<Arc<LocalUser>> {
        self.hub
            .user(user)
            .ok_or_else(|| Error::internal("a session outlived its socket"))
    }
}

/// Waits until the group was pushed up to where a member joined: what stands below is not for
/// them, and frames are shared by all. A tail that lags for longer than this is not waited for.
async fn until_reached(local: &LocalGroup, joined: Option<Position>) {
    let Some(joined) = joined else { return };
    for _ in 0..JOIN_LOOKS {
        if local.reached().pos.seq >= joined.seq {
            return;
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// What the member is at where pushing begins: counts as of then, not as of the log's newest.
fn state(membership: &Membership, count: &Count, head: Position, count_there: u64) -> GroupNow {
    let newer = count.head.count.saturating_sub(count_there);
    GroupNow {
        head,
        stored: count.head.stored.min(head),
        unread: unread_since(count.unread, newer),
        mentions: count.mentions,
        role: membership.role,
    }
}

fn welcome(resumed: &Resumed, state: GroupNow) -> GroupWelcome {
    GroupWelcome {
        group: resumed.group,
        verdict: resumed.verdict,
        rows: resumed.rows.clone(),
        pull: resumed.pull,
        state: Some(state),
    }
}

const fn gone(group: GroupId) -> GroupWelcome {
    GroupWelcome {
        group,
        verdict: Verdict::Gone,
        rows: Vec::new(),
        pull: false,
        state: None,
    }
}

/// The welcome's groups in pieces of at most [`CURSORS_MAX`].
pub fn pieces(groups: &[GroupWelcome]) -> (&[GroupWelcome], std::slice::Chunks<'_, GroupWelcome>) {
    let (first, rest) = groups.split_at(groups.len().min(CURSORS_MAX));
    (first, rest.chunks(CURSORS_MAX))
}
