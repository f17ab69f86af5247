//! Ends of sessions reach this node: once a second the revocation log is read above what is known,
//! and the sockets of ended sessions are closed with 4403. While the log cannot be read nothing is
//! closed; see [`Sessions`] for what is held back then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use crate::access::sessions::Sessions;
use crate::clock::every;
use crate::error::{Busy, Error, Result};
use crate::store::accounts::Accounts;

/// How often the log is read.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a reading may take; one that takes longer is begun anew.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct Revocations {
    /// Where the log is.
    pub accounts: Arc<dyn Accounts>,
    /// What is known of it.
    pub sessions: Sessions,
    /// Whose sockets are closed.
    pub hub: Arc<Hub>,
}

impl Revocations {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut tick = every(PERIOD);
        let mut was_fresh = true;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the revocation log is read again");
            }
            let is_fresh = self.sessions.is_fresh();
            if was_fresh && !is_fresh {
                tracing::warn!("the revocation log does not answer; pushes are held back");
            }
            was_fresh = is_fresh;
        }
    }

    /// Reads once: at the start, and by whoever just ended a session here.
    ///
    /// # Errors
    /// `busy` when the directory does not answer in time.
    pub async fn look(&self) -> Result<()> {
        let began = Instant::now();
        let reading = self.accounts.revocations(self.sessions.number());
        let Ok(found) = timeout(PATIENCE, reading).await else {
            return Err(Error::busy(
                Busy::Sessions,
                "the directory does not answer",
                1000,
            ));
        };
        let found = found?;
        self.sessions.learn(&found, began);
        for revocation in found {
            self.hub.revoke(revocation.user, revocation.session);
        }
        Ok(())
    }
}
