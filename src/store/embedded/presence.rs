//! Who is here, and hints, within this process: there is no other one, and with it all is
//! forgotten.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::model::hint::Hint;
use crate::model::id::UserId;
use crate::store::Result;
use crate::store::presence::Presence;

/// Hints kept for a slow receiver (the trait's promise).
const KEPT: usize = 1_024;

/// Nobody forgets this process but itself.
const BEAT_EVERY: Duration = Duration::from_secs(3_600);

/// The people at this process.
#[derive(Debug)]
pub(super) struct EmbeddedPresence {
    here: Mutex<HashSet<UserId>>,
    hints: broadcast::Sender<Hint>,
}

impl Default for EmbeddedPresence {
    fn default() -> Self {
        Self {
            here: Mutex::default(),
            hints: broadcast::Sender::new(KEPT),
        }
    }
}

#[async_trait]
impl Presence for EmbeddedPresence {
    fn beat_every(&self) -> Duration {
        BEAT_EVERY
    }

    async fn beat(&self) -> Result<bool> {
        Ok(true)
    }

    async fn arrive(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let mut here = self.here();
        let new = |user: &UserId| here.insert(*user);
        Ok(users.iter().copied().filter(new).collect())
    }

    async fn depart(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let mut here = self.here();
        let was_here = |user: &UserId| here.remove(user);
        Ok(users.iter().copied().filter(was_here).collect())
    }

    async fn bury(&self) -> Result<Vec<UserId>> {
        Ok(Vec::new())
    }

    async fn online(&self, users: &[UserId]) -> Result<Vec<UserId>> {
        let here = self.here();
        let is_here = |user: &UserId| here.contains(user);
        Ok(users.iter().copied().filter(is_here).collect())
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        for hint in hints {
            // Nobody listening is no failure.
            let _receivers = self.hints.send(hint.clone());
        }
        Ok(())
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }
}

impl EmbeddedPresence {
    fn here(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
