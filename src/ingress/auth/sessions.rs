//! Which log-ins are still good. A signed token outlives the end of its session, so each request
//! asks here: the directory, remembered for a second. On the node that ends a session the end is
//! at once, on others within that second.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::access::Caller;
use crate::error::{Error, Result};
use crate::model::id::{SessionId, UserId};
use crate::protocol::code::ErrorCode;
use crate::store::directory::Directory;

/// How long an answer of the directory is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// How many answers are remembered; about 100 bytes each.
const REMEMBERED_MAX: u64 = 100_000;

/// Answers whether sessions are good. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    directory: Arc<dyn Directory>,
    good: Cache<SessionId, UserId>,
}

impl Sessions {
    /// Sessions of this directory.
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        let good = Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(BELIEVED)
            .build();
        Self { directory, good }
    }

    /// Whether the caller's session was not ended.
    ///
    /// # Errors
    /// `unauthenticated` if it was; `busy` when the directory does not answer.
    pub async fn check(&self, caller: Caller) -> Result<()> {
        if self.good.get(&caller.session) == Some(caller.user) {
            return Ok(());
        }
        let session = self.directory.session(caller.session).await?;
        if session.is_none_or(|session| session.user != caller.user) {
            return Err(Error::new(
                ErrorCode::Unauthenticated,
                "the session was ended; log in again",
            ));
        }
        self.good.insert(caller.session, caller.user);
        Ok(())
    }

    /// Forgets a session that this node just ended.
    pub fn forget(&self, session: SessionId) {
        self.good.invalidate(&session);
    }
}
