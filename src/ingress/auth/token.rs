//! Access tokens: JWTs that this server signs and only this server reads (RFC 8725).
//!
//! A header must be, in every field, the one that the key of its `kid` writes: so one algorithm
//! for each key, the type `at+jwt`, and none of `jku`, `jwk`, `x5u`. Times are checked against
//! the injected clock.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use serde::{Deserialize, Serialize};

use super::secret::{Secret, hex};
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
    keys: Arc<HashMap<String, Key>>,
    signing: Arc<(Header, EncodingKey)>,
    clock: Arc<dyn Clock>,
    life_s: u32,
}

/// A key that tokens may be signed with.
struct Key {
    header: Header,
    decoding: DecodingKey,
}

impl Tokens {
    /// Tokens under `secret` that live for `life_s` seconds.
    pub fn new(secret: &Secret, life_s: u32, clock: Arc<dyn Clock>) -> Self {
        let key = secret.derive("access token");
        let kid = hex(secret
            .derive("access token id")
            .get(..8)
            .unwrap_or_default());
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(kid.clone());
        let decoding = DecodingKey::from_secret(&key);
        let known = Key {
            header: header.clone(),
            decoding,
        };
        Self {
            keys: Arc::new(HashMap::from([(kid, known)])),
            signing: Arc::new((header, EncodingKey::from_secret(&key))),
            clock,
            life_s,
        }
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
        encode(&self.signing.0, &claims, &self.signing.1).map_err(Error::internal)
    }

    /// Whom a token stands for, and until when. Whether the session was ended since is not
    /// asked here: see [`super::sessions`].
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
        let key = self.keys.get(kid).filter(|key| key.header == header);
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
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const NOW: Time = Time::from_millis(1_764_000_000_000);

    fn tokens(clock: &ManualClock) -> Tokens {
        Tokens::new(&secret(), 900, Arc::new(clock.clone()))
    }

    fn secret() -> Secret {
        Secret::of_bytes(&[1, 2, 3, 4].repeat(8))
    }

    fn caller() -> Caller {
        Caller {
            user: UserId::generate(NOW),
            session: SessionId::generate(NOW),
        }
    }

    fn code(tokens: &Tokens, token: &str) -> ErrorCode {
        tokens.verify(token).unwrap_err().code
    }

    #[test]
    fn a_token_is_good_until_its_end() {
        let clock = ManualClock::at(NOW);
        let tokens = tokens(&clock);
        let caller = caller();
        let token = tokens.sign(caller).unwrap();
        clock.advance(899_999);
        assert_eq!(
            tokens.verify(&token).unwrap(),
            (caller, Time::from_millis(1_764_000_900_000))
        );
        clock.advance(1);
        assert_eq!(code(&tokens, &token), ErrorCode::TokenExpired);
        clock.advance(-900_000 - 61_000);
        assert_eq!(code(&tokens, &token), ErrorCode::Unauthenticated);
    }

    #[test]
    fn no_changed_byte_is_taken() {
        let tokens = tokens(&ManualClock::at(NOW));
        let token = tokens.sign(caller()).unwrap();
        for index in 0..token.len() {
            for byte in [b'A', b'g', b'.', b'_'] {
                let mut changed = token.clone().into_bytes();
                if changed[index] == byte {
                    continue;
                }
                changed[index] = byte;
                let changed = String::from_utf8(changed).unwrap();
                assert!(tokens.verify(&changed).is_err(), "byte {index}");
            }
        }
    }

    #[test]
    fn only_the_exact_header_is_taken() {
        let clock = ManualClock::at(NOW);
        let tokens = tokens(&clock);
        let (header, key) = &*tokens.signing;
        let claims = |token: &str| token.split('.').nth(1).unwrap().to_owned();
        let payload = claims(&tokens.sign(caller()).unwrap());
        let value: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let signed = |change: &dyn Fn(&mut Header)| {
            let mut header = header.clone();
            change(&mut header);
            encode(&header, &value, key).unwrap()
        };
        assert!(tokens.verify(&signed(&|_| {})).is_ok());
        let changes: [&dyn Fn(&mut Header); 7] = [
            &|header| header.kid = None,
            &|header| header.kid = Some("../../secret".to_owned()),
            &|header| header.typ = Some("JWT".to_owned()),
            &|header| header.typ = None,
            &|header| header.jku = Some("http://localhost/keys".to_owned()),
            &|header| header.crit = Some(vec!["exp".to_owned()]),
            &|header| header.alg = Algorithm::HS512,
        ];
        for (index, change) in changes.iter().enumerate() {
            assert_eq!(
                code(&tokens, &signed(change)),
                ErrorCode::Unauthenticated,
                "change {index}"
            );
        }
    }

    #[test]
    fn no_unsigned_token_is_taken() {
        let tokens = tokens(&ManualClock::at(NOW));
        let token = tokens.sign(caller()).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let kid = tokens.signing.0.kid.clone().unwrap();
        for alg in ["none", "None", "NONE", "", "RS256"] {
            let header = format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}"}}"#);
            let header = URL_SAFE_NO_PAD.encode(header);
            for signature in ["", "AAAA"] {
                let forged = format!("{header}.{payload}.{signature}");
                assert_eq!(code(&tokens, &forged), ErrorCode::Unauthenticated, "{alg}");
            }
        }
        for nonsense in ["", ".", "..", "a.b.c", &"a".repeat(100_000)] {
            assert_eq!(code(&tokens, nonsense), ErrorCode::Unauthenticated);
        }
    }

    #[test]
    fn claims_must_all_be_there_and_be_ours() {
        let tokens = tokens(&ManualClock::at(NOW));
        let good = serde_json::json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": caller().user, "sid": caller().session,
            "iat": 1_764_000_000, "nbf": 1_764_000_000, "exp": 1_764_000_900,
        });
        let sign = |claims: &serde_json::Value| {
            encode(&tokens.signing.0, claims, &tokens.signing.1).unwrap()
        };
        assert!(tokens.verify(&sign(&good)).is_ok());
        for name in ["iss", "aud", "sub", "sid", "iat", "nbf", "exp"] {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(
                code(&tokens, &sign(&without)),
                ErrorCode::Unauthenticated,
                "{name}"
            );
            let mut other = good.clone();
            other[name] = "other".into();
            assert_eq!(
                code(&tokens, &sign(&other)),
                ErrorCode::Unauthenticated,
                "{name}"
            );
        }
    }
}
