//! Tickets: rows that are taken once. Of a ticket only its hash is kept.

use async_trait::async_trait;

use crate::model::id::{SessionId, UserId};
use crate::model::time::Time;
use crate::store::accounts::TicketHash;
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::args;

const SWEEP: &str = "DELETE FROM tickets WHERE session_id = $1 AND expires_at <= $2";

const KEEP: &str = "INSERT INTO tickets (hash, session_id, expires_at)
     SELECT $1, id, $3 FROM sessions WHERE id = $2";

const FIND: &str = "SELECT s.id, s.user_id FROM tickets t JOIN sessions s ON s.id = t.session_id
     WHERE t.hash = $1 AND t.expires_at > $2";

/// Of many who found it, one deletes it.
const TAKE: &str = "DELETE FROM tickets WHERE hash = $1";

/// Keeps a ticket; done if the session exists.
pub(super) struct Keep<'a> {
    pub(super) ticket: &'a TicketHash,
    pub(super) session: SessionId,
    pub(super) at: Time,
    pub(super) expires_at: Time,
}

#[async_trait]
impl Work for Keep<'_> {
    type Done = bool;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<bool> {
        tx.execute(SWEEP, args![self.session, self.at]).await?;
        let hash = self.ticket.to_vec();
        let ticket = args![hash, self.session, self.expires_at];
        Ok(tx.execute(KEEP, ticket).await? == 1)
    }
}

/// Takes a ticket.
pub(super) struct Take<'a> {
    pub(super) ticket: &'a TicketHash,
    pub(super) at: Time,
}

#[async_trait]
impl Work for Take<'_> {
    type Done = Option<(SessionId, UserId)>;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Self::Done> {
        let hash = self.ticket.to_vec();
        let found = tx.rows(FIND, args![hash, self.at]).await?;
        let Some(row) = found.into_iter().next() else {
            return Ok(None);
        };
        let mut columns = row.columns();
        let whose = (columns.take()?, columns.take()?);
        let is_taken = tx.execute(TAKE, args![hash]).await? == 1;
        Ok(is_taken.then_some(whose))
    }
}
