//! Who waits for `stored`: each socket that was told `accepted` above the watermark is told when
//! the watermark passes it (protocol.md, "Receipts").
//!
//! The watermark comes by signals, which may be lost: a sweep reads it again every second for the
//! groups that somebody waits in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::socket::{Socket, SocketId};
use crate::clock::every;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::protocol::server::ServerFrame;
use crate::store::log::{Log, Receipt};
use crate::store::signals::Signal;
use crate::telemetry::Metrics;

/// How often the watermarks of waiting groups are read again.
const SWEEP: Duration = Duration::from_secs(1);

/// Groups read in one call.
const SWEEP_GROUPS: usize = 500;

/// The senders that wait.
pub struct Receipts {
    hub: Arc<Hub>,
    log: Arc<dyn Log>,
    metrics: Metrics,
    groups: Mutex<HashMap<GroupId, Waiting>>,
}

/// Who waits in one group.
#[derive(Default)]
struct Waiting {
    /// The highest watermark heard of since somebody began to wait.
    stored: Position,
    /// Sends under way, whose position is not known yet.
    under_way: usize,
    /// Those that wait, by socket.
    sockets: HashMap<SocketId, Owed>,
}

/// What a socket waits for.
struct Owed {
    socket: Arc<Socket>,
    /// The highest position accepted for it.
    accepted: Position,
    /// The highest watermark that it was told since it began to wait.
    told: Position,
}

/// A send under way: the watermark is listened to from before its append, so that a quick one is
/// not missed.
pub struct UnderWay<'a> {
    receipts: &'a Receipts,
    group: GroupId,
}

impl Receipts {
    /// Nobody waits yet.
    pub fn new(hub: Arc<Hub>, log: Arc<dyn Log>, metrics: Metrics) -> Self {
        Self {
            hub,
            log,
            metrics,
            groups: Mutex::default(),
        }
    }

    /// Begins to listen for a group's watermark. Dropped, it stops.
    pub fn under_way(&self, group: GroupId) -> UnderWay<'_> {
        self.groups().entry(group).or_default().under_way += 1;
        UnderWay {
            receipts: self,
            group,
        }
    }

    /// The watermark of a group passed this position. A socket that was not told its epoch yet is told
    /// by the next one, or by the sweep.
    pub fn stored(&self, group: GroupId, pos: Position) {
        let mut groups = self.groups();
        let Some(waiting) = groups.get_mut(&group) else {
            return;
        };
        waiting.stored = waiting.stored.max(pos);
        let pos = waiting.stored;
        waiting.sockets.retain(|_, owed| {
            if pos > owed.told && self.hub.may_send(&owed.socket, group, pos.epoch) {
                owed.socket.send(&ServerFrame::Stored { group, pos });
                owed.told = pos;
            }
            owed.accepted > owed.told
        });
        drop_idle(&mut groups, group);
    }

    /// Forgets a socket that is gone.
    pub fn forget(&self, socket: SocketId) {
        self.groups().retain(|_, waiting| {
            waiting.sockets.remove(&socket);
            waiting.is_needed()
        });
    }

    /// Hears of watermarks, until `stop`. A lost signal is made up for by the sweep.
    pub async fn listen(self: Arc<Self>, mut signals: Receiver<Signal>, stop: CancellationToken) {
        while let Some(heard) = stop.run_until_cancelled(signals.recv()).await {
            match heard {
                Ok(Signal::Stored(group, pos)) => self.stored(group, pos),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Reads the watermarks of waiting groups again, until `stop`.
    pub async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = every(SWEEP);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let waiting: Vec<GroupId> = self.groups().keys().copied().collect();
            let count = i64::try_from(waiting.len()).unwrap_or(i64::MAX);
            self.metrics.awaiting_stored.set(count);
            for groups in waiting.chunks(SWEEP_GROUPS) {
                self.read_again(groups).await;
            }
        }
    }

    async fn read_again(&self, groups: &[GroupId]) {
        match self.log.heads(groups, None).await {
            Ok(heads) => {
                for (group, head) in groups.iter().zip(heads) {
                    if let Some((head, _)) = head {
                        self.stored(*group, head.stored);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "watermarks are read again later"),
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<GroupId, Waiting>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay<'_> {
    /// The send was accepted, and the client was told: `stored` follows now or later.
    pub fn accepted(self, socket: &Arc<Socket>, receipt: &Receipt) {
        let group = self.group;
        let mut groups = self.receipts.groups();
        let waiting = groups.entry(group).or_default();
        let owed = waiting.sockets.entry(socket.id).or_insert_with(|| Owed {
            socket: Arc::clone(socket),
            accepted: receipt.pos,
            told: Position::START,
        });
        owed.accepted = owed.accepted.max(receipt.pos);
        let stored = waiting.stored.max(receipt.stored);
        if stored >= receipt.pos {
            // It follows at once, also if it was told before.
            owed.told = Position::START;
            drop(groups);
            self.receipts.stored(group, stored);
        }
    }

    /// As [`UnderWay::accepted`] for a caller without a socket: waits until the watermark is at the
    /// position or above it, or until `patience` ran out; answers where it is then. One of a later
    /// epoch says nothing of positions that the epoch cut off.
    pub async fn until_stored(self, receipt: &Receipt, patience: Duration) -> Option<Position> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            let stored = self
                .receipts
                .groups()
                .get(&self.group)
                .map(|waiting| waiting.stored);
            let stored = stored.unwrap_or_default().max(receipt.stored);
            if stored >= receipt.pos {
                return Some(stored);
            }
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut groups = self.receipts.groups();
        if let Some(waiting) = groups.get_mut(&self.group) {
            waiting.under_way -= 1;
        }
        drop_idle(&mut groups, self.group);
    }
}

impl Waiting {
    fn is_needed(&self) -> bool {
        self.under_way > 0 || !self.sockets.is_empty()
    }
}

fn drop_idle(groups: &mut HashMap<GroupId, Waiting>, group: GroupId) {
    if groups
        .get(&group)
        .is_some_and(|waiting| !waiting.is_needed())
    {
        groups.remove(&group);
    }
}
