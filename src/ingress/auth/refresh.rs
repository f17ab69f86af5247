//! Refresh tokens: a session, a generation, and a tag over both. They are derived and not
//! stored, so the successor of a token is the same however often it is asked for.
//!
//! Which generation is good is the session's to say: see `pipeline/commands/accounts`.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::{Secret, Secrets};
use crate::error::{Error, Result};
use crate::model::id::SessionId;
use crate::protocol::code::ErrorCode;

/// Before the rest of the text, so that a leaked one is recognised for what it is.
const PREFIX: &str = "qlr_";

/// Session and generation.
const PLACE_BYTES: usize = 16 + 8;

/// Makes and reads refresh tokens. Cheap to clone; all clones have the same keys.
#[derive(Clone)]
pub struct RefreshTokens {
    keys: Arc<RwLock<Keys>>,
}

/// A key for each secret, the one that signs first.
type Keys = Vec<[u8; 32]>;

impl RefreshTokens {
    /// Tokens under `secrets`.
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            keys: Arc::new(RwLock::new(keys(secrets, &secrets.first))),
        }
    }

    /// From now on the keys of `secrets` are good, and that of `signing` signs.
    pub fn change_keys(&self, secrets: &Secrets, signing: &Secret) {
        let keys = keys(secrets, signing);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// The token of a session's generation.
    pub fn sign(&self, session: SessionId, generation: i64) -> String {
        let mut bytes = session.as_bytes().to_vec();
        bytes.extend_from_slice(&generation.to_be_bytes());
        let signing = self.keys().first().copied().unwrap_or_default();
        let tag = mac(&signing, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The session and generation of a token that was made here.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub fn read(&self, token: &str) -> Result<(SessionId, i64)> {
        self.open(token).ok_or_else(|| {
            let detail = "the refresh token is not one of ours; log in again";
            Error::new(ErrorCode::Unauthenticated, detail)
        })
    }

    fn open(&self, token: &str) -> Option<(SessionId, i64)> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
        let (place, tag) = bytes.split_at_checked(PLACE_BYTES)?;
        let is_ours = |key| mac(key, place).verify_slice(tag).is_ok();
        self.keys().iter().any(is_ours).then_some(())?;
        let (session, generation) = place.split_at_checked(16)?;
        Some((
            SessionId::from_slice(session)?,
            i64::from_be_bytes(generation.try_into().ok()?),
        ))
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(secrets: &Secrets, signing: &Secret) -> Keys {
    let others = secrets.all().filter(|secret| *secret != signing);
    let all = std::iter::once(signing).chain(others);
    all.map(|secret| secret.derive("refresh token")).collect()
}

fn mac(key: &[u8; 32], place: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("an HMAC takes keys of any length");
    mac.update(place);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;

    #[test]
    fn a_token_reads_back_and_no_changed_one_does() {
        let tokens = RefreshTokens::new(&Secrets {
            first: Secret::of_bytes(&[1, 2, 3, 4].repeat(8)),
            second: None,
        });
        let session = SessionId::generate(Time::default());
        let token = tokens.sign(session, 7);
        assert_eq!(tokens.read(&token).unwrap(), (session, 7));
        assert_eq!(token, tokens.sign(session, 7));
        let bytes = URL_SAFE_NO_PAD.decode(&token[PREFIX.len()..]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(changed));
            assert!(tokens.read(&text).is_err(), "bit {bit}");
        }
        for nonsense in ["", PREFIX, "qlr_AAAA", "ey.ey.ey"] {
            assert!(tokens.read(nonsense).is_err());
        }
    }
}
