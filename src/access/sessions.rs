//! Which log-ins are over, as this node knows from the revocation log.
//!
//! A signed token outlives the end of its session, by at most its own life; so does an open
//! socket. Each node reads the log once a second (`egress/revocations`) and keeps the ends here.
//! What is known is as old as the last reading: when that is over two seconds, nobody's word is
//! taken and no user's data goes out, until the log answers again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Caller;
use crate::error::{Busy, Error, Result};
use crate::model::id::SessionId;
use crate::protocol::code::ErrorCode;
use crate::store::accounts::Revocation;

/// How old the knowledge may be.
pub const AGE_MAX: Duration = Duration::from_secs(2);

/// For how long an end is remembered: longer than any access token lives.
const REMEMBERED: Duration = Duration::from_secs(20 * 60);

/// When to come back while nothing is known, in milliseconds.
const RETRY_AFTER_MS: u64 = 1000;

/// What this node knows of ended sessions. Cheap to clone; all clones know the same.
#[derive(Clone, Default)]
pub struct Sessions {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    learnt: Notify,
}

#[derive(Default)]
struct Known {
    /// When the last reading began; `None` before the first.
    read_at: Option<Instant>,
    /// The last number read.
    number: u64,
    /// The ends, and when they were learnt.
    ended: HashMap<SessionId, Instant>,
}

impl Sessions {
    /// The last number of the log that is known.
    pub fn number(&self) -> u64 {
        self.known().number
    }

    /// Notes what a reading that began at `read_at` found above the last number.
    pub fn learn(&self, found: &[Revocation], read_at: Instant) {
        let mut known = self.known();
        known
            .ended
            .retain(|_, at| read_at.duration_since(*at) < REMEMBERED);
        for revocation in found {
            known.number = known.number.max(revocation.number);
            known.ended.insert(revocation.session, read_at);
        }
        known.read_at = known.read_at.max(Some(read_at));
        drop(known);
        self.shared.learnt.notify_waiters();
    }

    /// Whether the caller's session goes on.
    ///
    /// # Errors
    /// `unauthenticated` if it was ended; `busy` while that cannot be known.
    pub fn check(&self, caller: Caller) -> Result<()> {
        let known = self.known();
        if known.ended.contains_key(&caller.session) {
            let detail = "the session was ended; log in again";
            return Err(Error::new(ErrorCode::Unauthenticated, detail));
        }
        if !known.is_fresh() {
            let detail = "it cannot be seen whether the session goes on; try again";
            return Err(Error::busy(Busy::Sessions, detail, RETRY_AFTER_MS));
        }
        Ok(())
    }

    /// Whether the knowledge is recent enough to let user data out.
    pub fn is_fresh(&self) -> bool {
        self.known().is_fresh()
    }

    /// Waits until it is. Cancel safe.
    pub async fn fresh(&self) {
        loop {
            let learnt = self.shared.learnt.notified();
            if self.is_fresh() {
                return;
            }
            learnt.await;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        let known = self.shared.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() <= AGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::UserId;
    use crate::model::time::Time;

    fn caller() -> Caller {
        Caller {
            user: UserId::generate(Time::default()),
            session: SessionId::generate(Time::default()),
        }
    }

    fn code(checked: Result<()>) -> ErrorCode {
        checked.unwrap_err().code
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_believed_before_the_first_reading_and_after_two_seconds_without_one() {
        let (sessions, caller) = (Sessions::default(), caller());
        assert_eq!(code(sessions.check(caller)), ErrorCode::Busy);
        sessions.learn(&[], Instant::now());
        tokio::time::advance(AGE_MAX).await;
        assert!(sessions.check(caller).is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(code(sessions.check(caller)), ErrorCode::Busy);
        sessions.learn(&[], Instant::now());
        sessions.fresh().await;
        assert!(sessions.check(caller).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_remembered_longer_than_a_token_lives() {
        let (sessions, caller) = (Sessions::default(), caller());
        let revocation = Revocation {
            number: 7,
            session: caller.session,
            user: caller.user,
        };
        sessions.learn(&[revocation], Instant::now());
        assert_eq!(sessions.number(), 7);
        for _ in 0..16 {
            tokio::time::advance(Duration::from_secs(60)).await;
            sessions.learn(&[], Instant::now());
            assert_eq!(code(sessions.check(caller)), ErrorCode::Unauthenticated);
        }
        tokio::time::advance(REMEMBERED).await;
        sessions.learn(&[], Instant::now());
        assert!(sessions.known().ended.is_empty());
    }
}
