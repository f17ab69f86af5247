//! Accounts and sessions: what the directory keeps of people and their log-ins. Passwords and
//! tokens are the caller's business: only a hash and a generation come here.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, FieldError, Result};
use crate::model::id::{MerchantId, SessionId, UserId};
use crate::model::merchant::Merchant;
use crate::model::name::{AccountName, ShownName};
use crate::model::time::Time;
use crate::model::user::User;
use crate::protocol::code::ErrorCode;
use crate::store::directory::{Directory, NewUser, Registered, Session};

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
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    session_ms: i64,
}

impl Accounts {
    /// Accounts of this directory, with sessions of so many days.
    pub fn new(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>, session_days: u32) -> Self {
        let session_ms = i64::from(session_days) * DAY_MS;
        Self {
            directory,
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
        match self.directory.register(asked).await? {
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

    /// Begins a session.
    ///
    /// # Errors
    /// `busy` when the directory does not answer.
    pub async fn begin_session(&self, user: UserId, device: String) -> Result<Session> {
        let at = self.clock.now();
        let session = Session {
            id: SessionId::generate(at),
            user,
            device,
            generation: 0,
            refreshed_at: at,
            expires_at: self.expiry(at),
        };
        self.directory.begin_session(&session).await?;
        Ok(session)
    }

    /// Renews a session by a refresh token of `generation`, and answers it as it is then. The
    /// current generation moves on; the one before it is answered with the same successor for
    /// 30 s; any other was stolen or kept too long, and ends the session for whoever holds it.
    ///
    /// # Errors
    /// `unauthenticated` for a session that is over, or is ended by this.
    pub async fn renew(&self, id: SessionId, generation: i64) -> Result<Session> {
        for _ in 0..RACES_MAX {
            let session = self.directory.session(id).await?.ok_or_else(over)?;
            let now = self.clock.now();
            if session.expires_at <= now {
                return self.end_refused(id).await;
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
            return self.end_refused(id).await;
        }
        Err(Error::busy("the session is being renewed; try again", 200))
    }

    /// Counts the renewal; `None` if another one came first.
    async fn move_on(&self, session: Session, now: Time) -> Result<Option<Session>> {
        let expires_at = self.expiry(now);
        let from = session.generation;
        let moved = self
            .directory
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

    async fn end_refused(&self, id: SessionId) -> Result<Session> {
        self.end_session(id).await?;
        Err(over())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `busy` when the directory does not answer.
    pub async fn end_session(&self, id: SessionId) -> Result<()> {
        Ok(self.directory.end_session(id).await?)
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
