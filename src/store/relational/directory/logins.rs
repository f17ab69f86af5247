//! [`Accounts`] in tables: which statement or transaction each call is.

use async_trait::async_trait;

use super::{SqlDirectory, accounts, sessions, tickets};
use crate::model::id::{SessionId, UserId};
use crate::model::time::Time;
use crate::store::Result;
use crate::store::accounts::{
    Accounts, Credentials, NewUser, Registered, Revocation, Session, TicketHash, Which,
};
use crate::store::relational::engine::Engine;
use crate::store::relational::value::args;

#[async_trait]
impl<E: Engine> Accounts for SqlDirectory<E> {
    async fn register(&self, new: NewUser) -> Result<Registered> {
        self.write(accounts::Register(&new)).await
    }

    async fn is_empty(&self) -> Result<bool> {
        let founded = self.engine.read(accounts::FOUNDED, args![]).await?;
        Ok(founded.is_empty())
    }

    async fn credentials(&self, name: &str) -> Result<Option<Credentials>> {
        let rows = self.engine.read(accounts::CREDENTIALS, args![name]).await?;
        rows.into_iter()
            .next()
            .map(accounts::credentials)
            .transpose()
    }

    async fn rename_user(&self, user: UserId, display_name: &str) -> Result<bool> {
        self.write(accounts::Rename { user, display_name }).await
    }

    async fn set_password(
        &self,
        user: UserId,
        hash: &str,
        keep: Option<SessionId>,
        at: Time,
    ) -> Result<()> {
        let which = keep.map_or(Which::All, Which::AllBut);
        let ends = sessions::End { user, which, at };
        self.write(accounts::SetPassword { hash, ends }).await
    }

    async fn set_disabled(&self, user: UserId, is_disabled: bool, at: Time) -> Result<()> {
        let which = Which::All;
        let ends = sessions::End { user, which, at };
        self.write(accounts::SetDisabled { is_disabled, ends })
            .await
    }

    async fn begin_session(&self, session: &Session, proven: &str, kept: &str) -> Result<bool> {
        let begin = sessions::Begin {
            session,
            proven,
            kept,
        };
        self.write(begin).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        let rows = self.engine.read(sessions::BY_ID, args![id]).await?;
        rows.into_iter().next().map(sessions::session).transpose()
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>> {
        let rows = self.engine.read(sessions::OF_USER, args![user]).await?;
        rows.into_iter().map(sessions::session).collect()
    }

    async fn renew_session(
        &self,
        id: SessionId,
        from: i64,
        at: Time,
        expires_at: Time,
    ) -> Result<bool> {
        let renewal = sessions::Renew {
            id,
            from,
            at,
            expires_at,
        };
        self.write(renewal).await
    }

    async fn end_sessions(&self, user: UserId, which: Which, at: Time) -> Result<u64> {
        self.write(sessions::End { user, which, at }).await
    }

    async fn revocations(&self, after: u64) -> Result<Vec<Revocation>> {
        let rows = self.engine.read(sessions::REVOKED, args![after]).await?;
        rows.into_iter().map(sessions::revocation).collect()
    }

    async fn keep_ticket(
        &self,
        ticket: &TicketHash,
        session: SessionId,
        at: Time,
        expires_at: Time,
    ) -> Result<bool> {
        let keeping = tickets::Keep {
            ticket,
            session,
            at,
            expires_at,
        };
        self.write(keeping).await
    }

    async fn take_ticket(
        &self,
        ticket: &TicketHash,
        at: Time,
    ) -> Result<Option<(SessionId, UserId)>> {
        self.write(tickets::Take { ticket, at }).await
    }
}
