//! Who is here, as sets of people, one for each process, that count for as long as the process
//! says that it lives; and hints over Pub/Sub, on a channel and a connection of their own, so
//! that no flood of them holds up a signal.
//!
//! After a silence nobody can tell who died and who was only not heard: a process that could not
//! say that it lives takes nobody for dead until all had the time to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::{Value, cmd};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::fault::corrupt;
use super::keys;
use super::library::Function;
use super::links::Links;
use super::reply::{list, number, text};
use super::subscription::Subscription;
use super::topology::home::Home;
use super::topology::shard::Lane;
use crate::model::hint::Hint;
use crate::model::id::UserId;
use crate::store::Result;
use crate::store::presence::{Presence, USERS_MAX};

/// Presence through one Redis.
#[derive(Debug)]
pub(super) struct RedisPresence {
    links: Arc<Links>,
    /// The name of this process, new at each boot.
    me: String,
    /// For how long a beat counts.
    lease: Duration,
    /// From when on a process that is not known to live is taken for dead.
    sure_from: Mutex<Instant>,
    heard: broadcast::Sender<Hint>,
}

#[async_trait]
impl Presence for RedisPresence {
    fn beat_every(&self) -> Duration {
        self.lease / 3
    }

    async fn beat(&self) -> Result<bool> {
        let mut call = self.function(Function::Alive);
        call.arg(&self.me).arg(self.lease_ms());
        let answer = self.links.call(Lane::Reads, Home::Here, &call).await;
        let was_known = answer.and_then(|answer| Ok(number(&answer)? == 1));
        if !matches!(was_known, Ok(true)) {
            *self.sure_from() = Instant::now() + self.lease;
        }
        was_known
    }

    async fn arrive(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        self.ask_of(Function::Arrive, users).await
    }

    async fn depart(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        self.ask_of(Function::Depart, users).await
    }

    async fn bury(&self) -> Result<Vec<UserId>> {
        if Instant::now() < *self.sure_from() {
            return Ok(Vec::new());
        }
        let mut call = self.function(Function::Bury);
        call.arg(USERS_MAX);
        users_of(&self.links.call(Lane::Reads, Home::Here, &call).await?)
    }

    async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.function(Function::Online);
        users.iter().for_each(|user| {
            call.arg(user.to_string());
        });
        users_of(&self.links.call(Lane::Reads, Home::Here, &call).await?)
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        let text = serde_json::to_vec(hints).map_err(|error| corrupt(error.to_string()))?;
        let mut publish = cmd("PUBLISH");
        publish.arg(keys::HINTS).arg(text);
        self.links.call(Lane::Reads, Home::Here, &publish).await?;
        Ok(())
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.heard.subscribe()
    }
}

impl RedisPresence {
    /// Subscribes to hints, and says that this process lives.
    pub(super) async fn connect(
        links: Arc<Links>,
        me: String,
        lease: Duration,
    ) -> Result<(Self, Subscription<Hint>)> {
        let listener = Subscription::begin(Arc::clone(&links), &[keys::HINTS], None).await?;
        let presence = Self {
            links,
            me,
            lease,
            sure_from: Mutex::new(Instant::now()),
            heard: listener.heard(),
        };
        presence.beat().await?;
        Ok((presence, listener))
    }

    async fn ask_of(&self, function: Function, users: &[UserId]) -> Result<Vec<UserId>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.function(function);
        call.arg(&self.me);
        users.iter().for_each(|user| {
            call.arg(user.to_string());
        });
        users_of(&self.links.call(Lane::Reads, Home::Here, &call).await?)
    }

    fn function(&self, function: Function) -> redis::Cmd {
        self.links.library.call(function, &[keys::HERE.to_owned()])
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn sure_from(&self) -> std::sync::MutexGuard<'_, Instant> {
        let sure_from = self.sure_from.lock();
        sure_from.unwrap_or_else(PoisonError::into_inner)
    }
}

fn users_of(answer: &Value) -> Result<Vec<UserId>> {
    let user = |listed: &Value| {
        let user = text(listed)?.parse();
        user.map_err(|error| corrupt(format!("a person: {error}")))
    };
    list(answer)?.iter().map(user).collect()
}
