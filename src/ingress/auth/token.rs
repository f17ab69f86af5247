//! Access tokens: JWTs that this server signs and only this server reads (RFC 8725).
//!
//! A header must be, in every field, the one that the key of its `kid` writes: so one algorithm
//! for each key, the type `at+jwt`, and none of `jku`, `jwk`, `x5u`. Times are checked against
//! the injected clock.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};

use super::secret::{Secret, Secrets, hex};
use crate::access::Caller;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::id::{SessionId, UserId};
use crate::model::time::Time;
use crate::protocol::code::ErrorCode;

/// Who signs, and for whom: this server, for itself.
const ISSUER: &str = "qunliu";
const AUDIENCE: &str = "qunliu.v1";

/// How far another node's clock may be ahead, in seconds. A token is never good after its `exp`.
const SKEW_S: u64 = 60;

/// The longest token that is looked at, in bytes; ours have some 400.
const TOKEN_BYTES_MAX: usize = 2048;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    iat: u64,
    nbf: u64,
    exp: u64,
}

/// Signs and reads access tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    keys: Arc<RwLock<Keys>>,
    clock: Arc<dyn Clock>,
    life_s: u32,
}

/// The keys that tokens may be signed with, and the one that signs.
struct Keys {
    known: HashMap<String, Key>,
    signing: (Header, EncodingKey),
}

struct Key {
    header: Header,
    decoding: DecodingKey,
}

impl Keys {
    /// The keys of `secrets`; those of `signing` sign.
    fn new(secrets: &Secrets, signing: &Secret) -> Self {
        let known = secrets.all().map(|secret| {
            let (kid, header, key) = key(secret);
            let decoding = DecodingKey::from_secret(&key);
            (kid, Key { header, decoding })
        });
        let (_, header, key) = key(signing);
        Self {
            known: known.collect(),
            signing: (header, EncodingKey::from_secret(&key)),
        }
    }
}

/// The key of a secret with its id, and the header that it writes.
fn key(secret: &Secret) -> (String, Header, [u8; 32]) {
    let id = secret.derive("access token id");
    let kid = hex(id.get(..8).unwrap_or_default());
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(kid.clone());
    (kid, header, secret.derive("access token"))
}

impl Tokens {
    /// Tokens under `secrets` that live for `life_s` seconds.
    pub fn new(secrets: &Secrets, life_s: u32, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys: Arc::new(RwLock::new(Keys::new(secrets, &secrets.first))),
            clock,
            life_s,
        }
    }

    /// From now on the keys of `secrets` are good, and that of `signing` signs.
    pub fn change_keys(&self, secrets: &Secrets, signing: &Secret) {
        let keys = Keys::new(secrets, signing);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a fresh token lives, in seconds.
    pub const fn life_s(&self) -> u32 {
        self.life_s
    }

    /// A token for a caller, from now on.
    ///
    /// # Errors
    /// `internal` if it cannot be signed.
    pub fn sign(&self, caller: Caller) -> Result<String> {
        let (now, _) = self.clock.now().unix_parts();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: caller.user,
            sid: caller.session,
            iat: now,
            nbf: now,
            exp: now + u64::from(self.life_s),
        };
        let (header, key) = &self.keys().signing;
        encode(header, &claims, key).map_err(Error::internal)
    }

    /// Whom a token stands for, and until when. Whether the session was ended since is not
    /// asked here: see [`crate::access::sessions`].
    ///
    /// # Errors
    /// `unauthenticated`, or `token_expired` for one that was good.
    pub fn verify(&self, token: &str) -> Result<(Caller, Time)> {
        let claims = self.read(token).map_err(|kind| refused(&kind))?;
        let (now, _) = self.clock.now().unix_parts();
        if claims.nbf > now + SKEW_S || claims.iss != ISSUER || claims.aud != AUDIENCE {
            return Err(refused("the token is not for here and now"));
        }
        if claims.exp <= now {
            let detail = "the access token ran out; refresh it";
            return Err(Error::new(ErrorCode::TokenExpired, detail));
        }
        let caller = Caller {
            user: claims.sub,
            session: claims.sid,
        };
        let millis = i64::try_from(claims.exp.saturating_mul(1000)).unwrap_or(i64::MAX);
        Ok((caller, Time::from_millis(millis)))
    }

    fn read(&self, token: &str) -> std::result::Result<Claims, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long".to_owned());
        }
        let header = decode_header(token).map_err(|error| reason(error.kind()))?;
        let kid = header.kid.as_deref().unwrap_or_default();
        let keys = self.keys();
        let key = keys.known.get(kid).filter(|key| key.header == header);
        let key = key.ok_or("the token was not made here")?;
        let data = decode::<Claims>(token, &key.decoding, &rules())
            .map_err(|error| reason(error.kind()))?;
        Ok(data.claims)
    }
}

/// The signature is the library's to check; times, issuer and audience are ours.
fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    rules
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidSignature => "the token's signature is wrong".to_owned(),
        _ => "the token cannot be read".to_owned(),
    }
}

fn refused(detail: &str) -> Error {
    Error::new(ErrorCode::Unauthenticated, detail)
}

#[cfg(test)]
mod tests;
