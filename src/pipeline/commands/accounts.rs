//! Accounts and sessions: what is kept of people and their log-ins. Passwords and tokens are the
//! caller's business: only hashes and a generation come here.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Busy, Error, FieldError, Result};
use crate::model::id::{MerchantId, SessionId, UserId};
use crate::model::merchant::Merchant;
use crate::model::name::{AccountName, ShownName};
use crate::model::time::Time;
use crate::model::user::User;
use crate::protocol::code::ErrorCode;
use crate::store::accounts::{
    self as kept, Credentials, NewUser, Registered, Session, TicketHash, Which,
};

/// For how long a used refresh token is answered with its successor again: two tabs, or an
/// answer that was lost.
const REUSE_MS: i64 = 30_000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How often a lost race for a renewal is looked at again.
const RACES_MAX: usize = 3;

/// An account that somebody asks for.
#[derive(Debug)]
pub struct NewAccount {
    /// The name one logs in with.
    pub name: AccountName,
    /// The name shown.
    pub display_name: ShownName,
    /// The password's hash in PHC form.
    pub password_hash: String,
    /// Whether the setup code was proven, or need not be: only then may it be the first account.
    pub may_be_first: bool,
}

/// Accounts and sessions.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn kept::Accounts>,
    clock: Arc<dyn Clock>,
    session_ms: i64,
}

impl Accounts {
    /// Accounts of this store, with sessions of so many days.
    pub fn new(store: Arc<dyn kept::Accounts>, clock: Arc<dyn Clock>, session_days: u32) -> Self {
        let session_ms = i64::from(session_days) * DAY_MS;
        Self {
            store,
            clock,
            session_ms,
        }
    }

    /// Makes an account; the first of all founds its merchant, which is answered too.
    ///
    /// # Errors
    /// `conflict` for a taken name, `forbidden` for a first account without the setup code.
    pub async fn register(&self, new: NewAccount) -> Result<(User, Option<Merchant>)> {
        let at = self.clock.now();
        let user = User {
            id: UserId::generate(at),
            name: new.name.as_str().to_owned(),
            display_name: new.display_name.as_str().to_owned(),
        };
        let asked = NewUser {
            user: user.clone(),
            password_hash: new.password_hash,
            at,
            first_merchant: (MerchantId::generate(at), user.display_name.clone()),
            refuse_first: !new.may_be_first,
        };
        match self.store.register(asked).await? {
            Registered::Yes => Ok((user, None)),
            Registered::First(merchant) => Ok((user, Some(merchant))),
            Registered::NameTaken => Err(refused(ErrorCode::Conflict, "name", "is taken")),
            Registered::FirstRefused => Err(refused(
                ErrorCode::Forbidden,
                "setup_code",
                "the first account needs the code that the server printed at its start",
            )),
        }
    }

    /// What a log-in under this name is checked against.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn credentials(&self, name: &str) -> Result<Option<Credentials>> {
        Ok(self.store.credentials(name).await?)
    }

    /// What a change of this account's own password is checked against.
    ///
    /// # Errors
    /// As [`Accounts::credentials`].
    pub async fn credentials_of(&self, user: &User) -> Result<Credentials> {
        let known = self.store.credentials(&user.name).await?;
        known
            .filter(|known| known.user.id == user.id)
            .ok_or_else(over)
    }

    /// Begins a session of an account whose password was just proven against `proven`, and keeps
    /// `kept` as its hash from now on; `None` if `proven` is not its hash any more, or it is disabled.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn begin_session(
        &self,
        user: UserId,
        device: String,
        proven: &str,
        kept: &str,
    ) -> Result<Option<Session>> {
        let at = self.clock.now();
        let session = Session {
            id: SessionId::generate(at),
            user,
            device,
            generation: 0,
            refreshed_at: at,
            expires_at: self.expiry(at),
        };
        let began = self.store.begin_session(&session, proven, kept).await?;
        Ok(began.then_some(session))
    }

    /// Renews a session by a refresh token of `generation`, and answers it as it is then. The
    /// current generation moves on; the one before it is answered with the same successor for
    /// 30 s; any other was stolen or kept too long, and ends the session for whoever holds it.
    ///
    /// # Errors
    /// `unauthenticated` for a session that is over, or is ended by this.
    pub async fn renew(&self, id: SessionId, generation: i64) -> Result<Session> {
        for _ in 0..RACES_MAX {
            let session = self.store.session(id).await?.ok_or_else(over)?;
            let now = self.clock.now();
            if session.expires_at <= now {
                return self.end_refused(&session).await;
            }
            if generation == session.generation {
                if let Some(renewed) = self.move_on(session, now).await? {
                    return Ok(renewed);
                }
                continue;
            }
            let age_ms = now.as_millis() - session.refreshed_at.as_millis();
            if generation == session.generation - 1 && age_ms <= REUSE_MS {
                return Ok(session);
            }
            tracing::warn!(session = %id, "a refresh token was used twice; the session ends");
            return self.end_refused(&session).await;
        }
        Err(Error::busy(
            Busy::Race,
            "the session is being renewed; try again",
            200,
        ))
    }

    /// Counts the renewal; `None` if another one came first.
    async fn move_on(&self, session: Session, now: Time) -> Result<Option<Session>> {
        let expires_at = self.expiry(now);
        let from = session.generation;
        let moved = self
            .store
            .renew_session(session.id, from, now, expires_at)
            .await?;
        let generation = from + 1;
        Ok(moved.then_some(Session {
            generation,
            refreshed_at: now,
            expires_at,
            ..session
        }))
    }

    async fn end_refused(&self, session: &Session) -> Result<Session> {
        self.end_sessions(session.user, Which::One(session.id))
            .await?;
        Err(over())
    }

    /// Ends sessions of a user; answers how many.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn end_sessions(&self, user: UserId, which: Which) -> Result<u64> {
        Ok(self
            .store
            .end_sessions(user, which, self.clock.now())
            .await?)
    }

    /// A user's sessions that go on, newest first.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>> {
        let now = self.clock.now();
        let mut sessions = self.store.sessions_of(user).await?;
        sessions.retain(|session| session.expires_at > now);
        Ok(sessions)
    }

    /// Changes a password and ends all sessions but `keep`.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn set_password(
        &self,
        user: UserId,
        hash: &str,
        keep: Option<SessionId>,
    ) -> Result<()> {
        let at = self.clock.now();
        Ok(self.store.set_password(user, hash, keep, at).await?)
    }

    /// Disables an account and ends its sessions, or enables it.
    ///
    /// # Errors
    /// `busy` when the store does not answer.
    pub async fn set_disabled(&self, user: UserId, is_disabled: bool) -> Result<()> {
        let at = self.clock.now();
        Ok(self.store.set_disabled(user, is_disabled, at).await?)
    }

    /// Keeps a ticket of a session for `life_s` seconds.
    ///
    /// # Errors
    /// `unauthenticated` if the session is over; `busy` when the store does not answer.
    pub async fn keep_ticket(
        &self,
        ticket: &TicketHash,
        session: SessionId,
        life_s: u32,
    ) -> Result<()> {
        let at = self.clock.now();
        let until = Time::from_millis(at.as_millis() + i64::from(life_s) * 1000);
        let kept = self.store.keep_ticket(ticket, session, at, until).await?;
        kept.then_some(()).ok_or_else(over)
    }

    /// Takes a ticket: whose it is.
    ///
    /// # Errors
    /// `unauthenticated` if it was taken, ran out or never was; `busy` when the store does not
    /// answer.
    pub async fn take_ticket(&self, ticket: &TicketHash) -> Result<(SessionId, UserId)> {
        let taken = self.store.take_ticket(ticket, self.clock.now()).await?;
        taken.ok_or_else(|| {
            let detail = "the ticket was used or ran out; ask for another";
            Error::new(ErrorCode::Unauthenticated, detail)
        })
    }

    const fn expiry(&self, at: Time) -> Time {
        Time::from_millis(at.as_millis() + self.session_ms)
    }
}

fn over() -> Error {
    Error::new(
        ErrorCode::Unauthenticated,
        "the session is over; log in again",
    )
}

fn refused(code: ErrorCode, field: &str, detail: &str) -> Error {
    let mut error = Error::new(code, format!("{field}: {detail}"));
    error.fields.push(FieldError {
        field: field.to_owned(),
        detail: detail.to_owned(),
    });
    error
}
