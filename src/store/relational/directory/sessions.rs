//! Sessions: a row lives from the log-in until it is ended, or until it ran out and its user
//! logs in again.

use async_trait::async_trait;

use crate::model::id::SessionId;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::directory::Session;
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Row, args};

/// `$1` the session.
pub(super) const BY_ID: &str =
    "SELECT id, user_id, device, generation, refreshed_at, expires_at FROM sessions WHERE id = $1";

const RENEW: &str = "UPDATE sessions
     SET generation = generation + 1, refreshed_at = $3, expires_at = $4
     WHERE id = $1 AND generation = $2";

const END: &str = "DELETE FROM sessions WHERE id = $1";

const SWEEP: &str = "DELETE FROM sessions WHERE user_id = $1 AND expires_at < $2";

const BEGIN: &str = "INSERT INTO sessions
         (id, user_id, device, generation, refreshed_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";

/// Begins a session, and drops those of the same user that ran out.
pub(super) struct Begin<'a>(pub(super) &'a Session);

#[async_trait]
impl Work for Begin<'_> {
    type Done = ();

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<()> {
        let new = self.0;
        tx.execute(SWEEP, args![new.user, new.refreshed_at]).await?;
        let session = args![
            new.id,
            new.user,
            new.device,
            new.generation,
            new.refreshed_at,
            new.expires_at,
        ];
        tx.execute(BEGIN, session).await.map(drop)
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

/// Ends a session.
pub(super) struct End(pub(super) SessionId);

#[async_trait]
impl Work for End {
    type Done = ();

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<()> {
        tx.execute(END, args![self.0]).await.map(drop)
    }
}

/// Reads [`BY_ID`].
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
