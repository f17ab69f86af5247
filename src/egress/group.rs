//! One group that somebody on this node listens to: how far it was pushed, and to whom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::socket::Socket;
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Epoch, Position, Seq};
use crate::protocol::server::told;

/// A user with at least one socket on this node.
pub struct LocalUser {
    /// Who.
    pub id: UserId,
    /// One arrival, joining or following at a time, so that none misses the other's groups.
    turn: Arc<Turn<()>>,
    sockets: Mutex<Vec<Arc<Socket>>>,
    groups: Mutex<Vec<GroupId>>,
}

impl LocalUser {
    /// A user without sockets yet.
    pub fn new(id: UserId) -> Self {
        Self {
            id,
            turn: Arc::default(),
            sockets: Mutex::default(),
            groups: Mutex::default(),
        }
    }

    /// Waits for the turn to bring in a socket or a group.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The sockets, oldest first.
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        lock(&self.sockets).clone()
    }

    /// Calls `each` for every socket, without copying the list.
    pub fn for_each_socket(&self, mut each: impl FnMut(&Socket)) {
        lock(&self.sockets).iter().for_each(|socket| each(socket));
    }

    /// Adds a socket and takes out those it replaces: of the same device, and the oldest above
    /// `max`.
    pub fn add(&self, socket: Arc<Socket>, max: usize) -> Vec<Arc<Socket>> {
        let mut sockets = lock(&self.sockets);
        let (mut replaced, mut kept): (Vec<_>, Vec<_>) = sockets
            .drain(..)
            .partition(|other| other.device == socket.device);
        kept.push(socket);
        let over = kept.len().saturating_sub(max.max(1));
        replaced.extend(kept.drain(..over));
        *sockets = kept;
        replaced
    }

    /// Takes a socket out; answers whether any is left.
    pub fn remove(&self, socket: &Socket) -> bool {
        let mut sockets = lock(&self.sockets);
        sockets.retain(|other| other.id != socket.id);
        !sockets.is_empty()
    }

    /// Notes a group that the user listens to; answers whether it is new.
    pub fn note(&self, group: GroupId) -> bool {
        let mut groups = lock(&self.groups);
        let new = !groups.contains(&group);
        if new {
            groups.push(group);
        }
        new
    }

    /// Forgets a group.
    pub fn unnote(&self, group: GroupId) {
        lock(&self.groups).retain(|other| *other != group);
    }

    /// The groups noted.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.groups).clone()
    }

    /// The groups noted, which are forgotten.
    pub fn take_groups(&self) -> Vec<GroupId> {
        std::mem::take(&mut lock(&self.groups))
    }
}

/// The users of a group who are on this node, by id; shared, so that pushing needs no lock.
pub type Listeners = Arc<Vec<Arc<LocalUser>>>;

/// How far a group was pushed on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// The last event that was pushed, or the head when listening began.
    pub pos: Position,
    /// Messages up to there (C).
    pub count: u64,
    /// The epochs that its listeners were told.
    pub table: EpochTable,
}

impl Reached {
    /// The epochs above what somebody knows who holds the events up to `known`. Before the first event
    /// nothing is held that an epoch could have cut off.
    pub fn rows_above(&self, known: Position) -> Vec<(Epoch, Seq)> {
        match known {
            Position::START => Vec::new(),
            _ => self.table.above(known.epoch.max(1)).map(told).collect(),
        }
    }
}

/// A group with listeners on this node.
pub struct LocalGroup {
    /// The group.
    pub id: GroupId,
    /// How many members it had when that was last seen.
    members: AtomicU64,
    /// The newest epoch that all who listen were told.
    told: AtomicU64,
    state: Mutex<(Reached, Listeners)>,
}

impl LocalGroup {
    /// A group pushed up to `reached`, without listeners.
    pub fn new(id: GroupId, reached: Reached) -> Self {
        Self {
            id,
            members: AtomicU64::new(u64::MAX),
            told: AtomicU64::new(reached.table.epoch()),
            state: Mutex::new((reached, Listeners::default())),
        }
    }

    /// How many members it had when that was last seen; more than any before.
    pub fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    /// Notes how many members it has.
    pub fn note_members(&self, members: u64) {
        self.members.store(members, Ordering::Relaxed);
    }

    /// How far it was pushed.
    pub fn reached(&self) -> Reached {
        self.state().0.clone()
    }

    /// The newest epoch that all who listen were told.
    pub fn told(&self) -> Epoch {
        self.told.load(Ordering::Relaxed)
    }

    /// All who listen were told the epochs that the group was advanced to. A log in which nothing was
    /// said since the last of them began ends in it.
    pub fn settle(&self) {
        let mut state = self.state();
        let reached = &mut state.0;
        reached.pos = reached.table.end_at(reached.pos);
        self.told.store(reached.table.epoch(), Ordering::Relaxed);
    }

    /// Changes how far it was pushed, and answers who is to be told. Whoever listens from then on
    /// begins behind it.
    pub fn advance(&self, change: impl FnOnce(&mut Reached)) -> Listeners {
        let mut state = self.state();
        change(&mut state.0);
        Arc::clone(&state.1)
    }

    /// Who listens.
    pub fn listeners(&self) -> Listeners {
        Arc::clone(&self.state().1)
    }

    /// Moves behind an event that is about to be pushed.
    pub fn advance_to(&self, entry: &Entry) -> Listeners {
        self.advance(|reached| {
            reached.pos = entry.pos;
            reached.count = entry.count;
        })
    }

    /// Adds a listener.
    pub fn add(&self, user: Arc<LocalUser>) {
        let mut state = self.state();
        if let Err(place) = place(&state.1, user.id) {
            Arc::make_mut(&mut state.1).insert(place, user);
        }
    }

    /// Whether this user listens.
    pub fn has(&self, user: UserId) -> bool {
        place(&self.state().1, user).is_ok()
    }

    /// Takes a listener out; answers whether any is left.
    pub fn remove(&self, user: UserId) -> bool {
        let mut state = self.state();
        if let Ok(place) = place(&state.1, user) {
            Arc::make_mut(&mut state.1).remove(place);
        }
        !state.1.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, (Reached, Listeners)> {
        lock(&self.state)
    }
}

/// Where a user stands among the listeners, or would: a group may have very many.
fn place(listeners: &[Arc<LocalUser>], user: UserId) -> Result<usize, usize> {
    listeners.binary_search_by_key(&user, |other| other.id)
}

/// A short section over plain data, which a panic elsewhere leaves whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
