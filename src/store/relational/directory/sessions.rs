//! Sessions: a row lives from the log-in until it is ended, or until it ran out and its user
//! logs in again. Every end leaves a row in the revocation log.

use async_trait::async_trait;

use crate::model::id::{SessionId, UserId};
use crate::model::time::Time;
use crate::store::Result;
use crate::store::accounts::{Revocation, Session, Which};
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Row, args, packed};

/// For how long a row of the revocation log is kept, in milliseconds.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, user_id, device, generation, refreshed_at, expires_at FROM sessions WHERE ",
            $condition
        )
    };
}

/// `$1` the session.
pub(super) const BY_ID: &str = select!("id = $1");

/// `$1` the user. Ids rise with time.
pub(super) const OF_USER: &str = select!("user_id = $1 ORDER BY id DESC");

/// `$1` the last number known.
pub(super) const REVOKED: &str = "SELECT number, session_id, user_id FROM revocations
     WHERE number > $1 ORDER BY number, session_id";

const RENEW: &str = "UPDATE sessions
     SET generation = generation + 1, refreshed_at = $3, expires_at = $4
     WHERE id = $1 AND generation = $2";

const SWEEP: &str = "DELETE FROM sessions WHERE user_id = $1 AND expires_at < $2";

/// Holds the account still until the session has begun: a change of the password, or a disabling,
/// comes before this or finds the session.
const PROVE: &str = "UPDATE users SET password_hash = $3
     WHERE id = $1 AND password_hash = $2 AND is_disabled = 0";

const BEGIN: &str = "INSERT INTO sessions
         (id, user_id, device, generation, refreshed_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";

/// Holds off the next one who ends sessions until this one has committed.
const NUMBER: &str = "UPDATE revocation_number SET number = number + 1";

const FORGET: &str = "DELETE FROM revocations WHERE ended_at < $1";

/// `$1` the user, `$2` the one meant or no bytes for any, `$3` the one kept or no bytes for none.
const REVOKE: &str = "INSERT INTO revocations (number, session_id, user_id, ended_at)
     SELECT n.number, s.id, s.user_id, $4 FROM sessions s CROSS JOIN revocation_number n
     WHERE s.user_id = $1 AND (length($2) = 0 OR s.id = $2) AND s.id <> $3";

const END: &str = "DELETE FROM sessions
     WHERE user_id = $1 AND (length($2) = 0 OR id = $2) AND id <> $3";

/// Begins a session, and drops those of the same user that ran out; done if the password still is
/// the proven one and the account is not disabled.
pub(super) struct Begin<'a> {
    pub(super) session: &'a Session,
    pub(super) proven: &'a str,
    pub(super) kept: &'a str,
}

#[async_trait]
impl Work for Begin<'_> {
    type Done = bool;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<bool> {
        let new = self.session;
        let proof = args![new.user, self.proven, self.kept];
        if tx.execute(PROVE, proof).await? == 0 {
            return Ok(false);
        }
        tx.execute(SWEEP, args![new.user, new.refreshed_at]).await?;
        let session = args![
            new.id,
            new.user,
            new.device,
            new.generation,
            new.refreshed_at,
            new.expires_at,
        ];
        tx.execute(BEGIN, session).await?;
        Ok(true)
    }
}

/// Counts a renewal; done if the generation was `from`.
pub(super) struct Renew {
    pub(super) id: SessionId,
    pub(super) from: i64,
    pub(super) at: Time,
    pub(super) expires_at: Time,
}

#[async_trait]
impl Work for Renew {
    type Done = bool;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<bool> {
        let args = args![self.id, self.from, self.at, self.expires_at];
        Ok(tx.execute(RENEW, args).await? == 1)
    }
}

/// Ends sessions; done is how many.
pub(super) struct End {
    pub(super) user: UserId,
    pub(super) which: Which,
    pub(super) at: Time,
}

#[async_trait]
impl Work for End {
    type Done = u64;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<u64> {
        let (meant, kept) = match &self.which {
            Which::One(session) => (Some(session), None),
            Which::AllBut(session) => (None, Some(session)),
            Which::All => (None, None),
        };
        let meant = packed(meant.map(SessionId::as_bytes));
        let kept = packed(kept.map(SessionId::as_bytes));
        tx.execute(NUMBER, args![]).await?;
        let cut = Time::from_millis(self.at.as_millis() - KEPT_MS);
        tx.execute(FORGET, args![cut]).await?;
        let revoked = args![self.user, meant, kept, self.at];
        tx.execute(REVOKE, revoked).await?;
        tx.execute(END, args![self.user, meant, kept]).await
    }
}

/// Reads [`BY_ID`] and [`OF_USER`].
pub(super) fn session(row: Row) -> Result<Session> {
    let mut columns = row.columns();
    Ok(Session {
        id: columns.take()?,
        user: columns.take()?,
        device: columns.take()?,
        generation: columns.take()?,
        refreshed_at: columns.take()?,
        expires_at: columns.take()?,
    })
}

/// Reads [`REVOKED`].
pub(super) fn revocation(row: Row) -> Result<Revocation> {
    let mut columns = row.columns();
    Ok(Revocation {
        number: columns.take()?,
        session: columns.take()?,
        user: columns.take()?,
    })
}
