//! Refresh tokens: a session, a generation, and a tag over both. They are derived and not
//! stored, so the successor of a token is the same however often it is asked for.
//!
//! Which generation is good is the session's to say: see `pipeline/commands/accounts`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::Secrets;
use super::tags::Tags;
use crate::error::{Error, Result};
use crate::model::id::SessionId;
use crate::protocol::code::ErrorCode;

/// Before the rest of the text, so that a leaked one is recognised for what it is.
const PREFIX: &str = "qlr_";

/// Session and generation.
const PLACE_BYTES: usize = 16 + 8;

/// Bytes of the tag.
const TAG_BYTES: usize = 32;

/// Makes and reads refresh tokens. Cheap to clone; all clones have the same keys.
#[derive(Clone)]
pub struct RefreshTokens(Tags);

impl RefreshTokens {
    /// Tokens under `secrets`.
    pub fn new(secrets: &Secrets) -> Self {
        Self(Tags::new("refresh token", TAG_BYTES, secrets))
    }

    /// Their tags, for whoever changes the keys.
    pub fn tags(&self) -> Tags {
        self.0.clone()
    }

    /// The token of a session's generation.
    pub fn sign(&self, session: SessionId, generation: i64) -> String {
        let mut bytes = session.as_bytes().to_vec();
        bytes.extend_from_slice(&generation.to_be_bytes());
        let tag = self.0.tag(&[&bytes]);
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
        self.0.is_ours(&[place], tag).then_some(())?;
        let (session, generation) = place.split_at_checked(16)?;
        Some((
            SessionId::from_slice(session)?,
            i64::from_be_bytes(generation.try_into().ok()?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
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
