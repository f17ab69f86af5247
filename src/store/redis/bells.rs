//! Doorbells: a tracked connection to each server, made again when it ends. A server that cannot
//! be reached keeps nobody from hearing the others.
//!
//! Rings carry no data: whoever hears that a bell is fresh looks at everything of its server, for
//! nothing rang while it was not there.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, join_all};
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Notify;

use super::backoff::Backoff;
use super::links::{HomeCall, each, pipeline};
use super::rings::Bell;
use super::topology::Topology;
use super::topology::home::Home;
use super::topology::map::Map;
use super::topology::shard::Shard;
use crate::model::id::GroupId;

/// A bell at each server.
pub(super) struct Bells {
    topology: Arc<Topology>,
    map: Arc<Map>,
    /// In the order of the servers in the map.
    seats: Vec<Seat>,
    /// What switches tracking on, and how often that was changed.
    tracking: Pipeline,
    version: u64,
    rings: Arc<Notify>,
    /// Why a bell could not be made, since somebody last asked.
    failure: Option<RedisError>,
}

/// Where the bell at one server belongs.
struct Seat {
    shard: Arc<Shard>,
    line: Line,
    backoff: Backoff,
    /// The version of tracking that is switched on.
    tracked: Option<u64>,
    /// Whether tracking was switched on and nobody heard of it yet.
    is_fresh: bool,
}

enum Line {
    Up(Bell),
    Coming(BoxFuture<'static, RedisResult<Bell>>),
}

/// What was heard since the last time.
#[derive(Default)]
pub(super) struct Heard {
    /// Streams that changed.
    pub(super) groups: HashSet<GroupId>,
    /// Servers at which everything may have changed (FLUSHALL), by their seats.
    pub(super) everything: Vec<usize>,
    /// Servers that nothing was heard of before.
    pub(super) fresh: Vec<usize>,
}

impl Bells {
    /// Bells at all servers, over which `tracking` is switched on.
    pub(super) fn new(topology: Arc<Topology>, tracking: Pipeline) -> Self {
        let (map, rings) = (topology.map(), Arc::new(Notify::new()));
        let seats = map.shards().iter().map(|shard| Seat::new(shard, &rings));
        Self {
            seats: seats.collect(),
            topology,
            map,
            tracking,
            version: 0,
            rings,
            failure: None,
        }
    }

    /// Listens to something else from the next [`Bells::tend`] on.
    pub(super) fn listen_to(&mut self, tracking: Pipeline) {
        self.tracking = tracking;
        self.version += 1;
    }

    /// The seat of the server that a home lies on.
    pub(super) fn seat(&self, home: impl Into<Home>) -> usize {
        self.map.index(home.into())
    }

    /// Whether whatever changes in a home rings.
    pub(super) fn hears(&self, home: impl Into<Home>) -> bool {
        let seat = self.seats.get(self.seat(home));
        seat.is_some_and(|seat| seat.tracked == Some(self.version))
    }

    /// Whether whatever changes anywhere rings.
    pub(super) fn hear_all(&self) -> bool {
        let mut seats = self.seats.iter();
        seats.all(|seat| seat.tracked == Some(self.version))
    }

    /// Whether one command may be about several homes.
    pub(super) fn joins_homes(&self) -> bool {
        self.map.joins_homes()
    }

    /// Follows the newest map, and switches tracking on wherever it is not. Cancel safe.
    pub(super) async fn tend(&mut self) {
        self.follow_map();
        for index in 0..self.seats.len() {
            let Some(seat) = self.seats.get_mut(index) else {
                continue;
            };
            if seat.tracked == Some(self.version) {
                continue;
            }
            if let Some(Err(error)) = seat.track(&self.tracking, self.version).await {
                self.hang_up(index, &error);
            }
        }
    }

    fn follow_map(&mut self) {
        let map = self.topology.map();
        if Arc::ptr_eq(&map, &self.map) {
            return;
        }
        let mut old = std::mem::take(&mut self.seats);
        for shard in map.shards() {
            let known = old.iter().position(|seat| Arc::ptr_eq(&seat.shard, shard));
            let seat = known.map_or_else(
                || Seat::new(shard, &self.rings),
                |known| {
                    let mut seat = old.swap_remove(known);
                    // What lies there may be more than before.
                    seat.tracked = None;
                    seat
                },
            );
            self.seats.push(seat);
        }
        self.map = map;
    }

    /// What was heard since the last time. Bells that ended are made again.
    pub(super) fn heard(&mut self) -> Heard {
        let mut heard = Heard::default();
        let mut over = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if std::mem::take(&mut seat.is_fresh) {
                heard.fresh.push(index);
            }
            let Line::Up(bell) = &seat.line else { continue };
            let rung = bell.rung();
            heard.groups.extend(rung.groups);
            if rung.everything {
                heard.everything.push(index);
            }
            if rung.is_over {
                over.push(index);
            }
        }
        for index in over {
            self.redial(index);
        }
        heard
    }

    /// Waits until something rings, or a server was reached or could not be. Cancel safe.
    pub(super) async fn ring(&mut self) {
        let rings = Arc::clone(&self.rings);
        tokio::select! {
            () = rings.notified() => {}
            () = poll_fn(|context| self.poll(context)) => {}
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut came = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if let Line::Coming(dialling) = &mut seat.line
                && let Poll::Ready(bell) = dialling.as_mut().poll(context)
            {
                came.push((index, bell));
            }
        }
        if came.is_empty() {
            return Poll::Pending;
        }
        for (index, bell) in came {
            match (bell, self.seats.get_mut(index)) {
                (Ok(bell), Some(seat)) => seat.line = Line::Up(bell),
                (Err(error), _) => self.hang_up(index, &error),
                (Ok(_), None) => {}
            }
        }
        Poll::Ready(())
    }

    /// Sends commands over the bells, in one write to each server. Answers what was answered, in
    /// no order; a bell whose server failed, or refused one of them, is made again. Cancel safe.
    pub(super) async fn ask(&mut self, calls: &[HomeCall]) -> Vec<Value> {
        let asking = self.seats.iter().enumerate().filter_map(|(index, seat)| {
            let Line::Up(bell) = &seat.line else {
                return None;
            };
            let own = calls
                .iter()
                .filter(|(home, _)| self.map.index(*home) == index);
            let own = pipeline(own.map(|(_, call)| call));
            let mut connection = bell.connection.clone();
            Some(async move {
                let answers = match own.is_empty() {
                    true => Ok(Vec::new()),
                    false => connection.send_packed_commands(&own, 0, own.len()).await,
                };
                (index, answers)
            })
        });
        let mut found = Vec::new();
        for (index, answers) in join_all(asking).await {
            let mut failure = None;
            match answers {
                Ok(answers) => each(answers).for_each(|answer| match answer {
                    Ok(answer) => found.push(answer),
                    Err(error) => failure = Some(error),
                }),
                Err(error) => failure = Some(error),
            }
            if let Some(error) = failure {
                self.hang_up(index, &error);
            }
        }
        found
    }

    /// The bell at a seat is of no use: another one is made, after a pause.
    pub(super) fn hang_up(&mut self, index: usize, error: &RedisError) {
        tracing::debug!(%error, "a doorbell is made again");
        if let Some(seat) = self.seats.get_mut(index) {
            seat.backoff.fail();
        }
        self.redial(index);
        self.failure = Some(error.clone());
    }

    fn redial(&mut self, index: usize) {
        if let Some(seat) = self.seats.get_mut(index) {
            seat.tracked = None;
            seat.is_fresh = false;
            seat.line = Line::Coming(dial(&seat.shard, &self.rings, seat.backoff));
        }
        self.topology.doubt();
    }

    /// Why no bell is up, once for each failure.
    pub(super) fn deaf(&mut self) -> Option<RedisError> {
        let is_deaf = self
            .seats
            .iter()
            .all(|seat| !matches!(seat.line, Line::Up(_)));
        self.failure.take().filter(|_| is_deaf)
    }

    /// Why a bell could not be made, once for each failure.
    pub(super) fn failure(&mut self) -> Option<RedisError> {
        self.failure.take()
    }
}

impl Seat {
    fn new(shard: &Arc<Shard>, rings: &Arc<Notify>) -> Self {
        Self {
            shard: Arc::clone(shard),
            line: Line::Coming(dial(shard, rings, Backoff::default())),
            backoff: Backoff::default(),
            tracked: None,
            is_fresh: false,
        }
    }

    /// Switches tracking on, if there is a connection.
    async fn track(&mut self, tracking: &Pipeline, version: u64) -> Option<RedisResult<()>> {
        let Line::Up(bell) = &mut self.line else {
            return None;
        };
        let sending = bell
            .connection
            .send_packed_commands(tracking, 0, tracking.len());
        let switched = sending
            .await
            .and_then(|all| each(all).collect::<RedisResult<Vec<_>>>());
        if switched.is_ok() {
            self.backoff.succeed();
            self.tracked = Some(version);
            self.is_fresh = true;
        }
        Some(switched.map(drop))
    }
}

/// A bell at a server, after the pause that is due.
fn dial(
    shard: &Arc<Shard>,
    rings: &Arc<Notify>,
    backoff: Backoff,
) -> BoxFuture<'static, RedisResult<Bell>> {
    let (shard, rings) = (Arc::clone(shard), Arc::clone(rings));
    Box::pin(async move {
        backoff.pause().await;
        Bell::connect(&shard.dial, rings).await
    })
}
