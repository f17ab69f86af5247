//! Who calls: passwords, tokens, sessions, and the code that founds a fresh server.
//!
//! In: names, passwords and tokens from requests. Out: a [`Caller`], which is all that the rest
//! of the server ever learns. Secrets, passwords and tokens are never logged and never stored,
//! but for a password's hash.

use std::sync::Arc;

use serde::Deserialize;

use super::call::Call;
use crate::access::Caller;
use crate::access::sessions::Sessions;
use crate::clock::Clock;
use crate::error::Result;
use crate::lifecycle::Tasks;
use crate::model::time::Time;

pub mod password; // hashes, and what is refused as too common
pub mod refresh; // refresh tokens
pub mod secret; // the secrets, and the keys derived from them
pub mod rotation; // changes of the secret file
pub mod setup; // the code for the first account
pub mod tags; // tags over what clients carry
pub mod ticket; // what opens one socket once
pub mod token; // access tokens

use password::Passwords;
use refresh::RefreshTokens;
use secret::Secrets;
use setup::SetupCode;
use token::Tokens;

/// Options of this folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file with the secret; empty for `secret.key` in the data folder.
    pub secret_file: String,
    /// How long an access token lives, in seconds; at most 900.
    pub access_s: u32,
    /// How long a session lives that is not renewed, in days.
    pub session_days: u32,
    /// Passwords hashed at once, 19 MiB each.
    pub hashes_at_once: usize,
    /// Requests that may wait for that.
    pub hashes_waiting_max: usize,
}

/// All that tells who calls. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    /// Access tokens.
    pub tokens: Tokens,
    /// Refresh tokens.
    pub refresh: RefreshTokens,
    /// Passwords.
    pub passwords: Passwords,
    /// Log-ins that are over.
    pub sessions: Sessions,
    /// What a first account must prove.
    pub setup: SetupCode,
}

impl Auth {
    /// Authentication under `secrets`.
    ///
    /// # Errors
    /// A password cannot be hashed at all.
    pub async fn new(
        options: &Options,
        secrets: &Secrets,
        setup: SetupCode,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self> {
        Ok(Self {
            tokens: Tokens::new(secrets, options.access_s, clock),
            refresh: RefreshTokens::new(secrets),
            passwords: Passwords::new(options, tasks.clone()).await?,
            sessions,
            setup,
        })
    }

    /// Who sends this request: proven by its token, in a session that was not ended.
    ///
    /// # Errors
    /// `unauthenticated`, `token_expired`; `busy` while ends of sessions cannot be known.
    pub fn caller(&self, call: &Call) -> Result<Caller> {
        self.caller_of(call.bearer()?).map(|(caller, _)| caller)
    }

    /// Whom an access token stands for, and until when, in a session that was not ended.
    ///
    /// # Errors
    /// As [`Auth::caller`].
    pub fn caller_of(&self, token: &str) -> Result<(Caller, Time)> {
        let (caller, until) = self.tokens.verify(token)?;
        self.sessions.check(caller)?;
        Ok((caller, until))
    }
}
