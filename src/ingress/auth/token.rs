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
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::{
        Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    const NOW: Time = Time::from_millis(1_764_000_000_000);

    fn tokens(clock: &ManualClock) -> Tokens {
        Tokens::new(&secrets(1, None), 900, Arc::new(clock.clone()))
    }

    fn secrets(first: u8, second: Option<u8>) -> Secrets {
        let secret = |byte: u8| Secret::of_bytes(&[byte, 2, 3, 4].repeat(8));
        Secrets {
            first: secret(first),
            second: second.map(secret),
        }
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
        let (header, key) = &tokens.keys().signing;
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
        let kid = tokens.keys().signing.0.kid.clone().unwrap();
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
            let (header, key) = &tokens.keys().signing;
            encode(header, claims, key).unwrap()
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

    #[test]
    fn tokens_of_the_second_key_are_good_until_it_goes() {
        let clock = ManualClock::at(NOW);
        let (one, both) = (secrets(1, None), secrets(2, Some(1)));
        let tokens = Tokens::new(&one, 900, Arc::new(clock));
        let old = tokens.sign(caller()).unwrap();
        tokens.change_keys(&both, &one.first);
        assert_eq!(header(&tokens.sign(caller()).unwrap()), header(&old));
        tokens.change_keys(&both, &both.first);
        let new = tokens.sign(caller()).unwrap();
        assert_ne!(header(&new), header(&old));
        assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
        tokens.change_keys(&secrets(2, None), &both.first);
        assert!(tokens.verify(&new).is_ok());
        assert_eq!(code(&tokens, &old), ErrorCode::Unauthenticated);
    }

    fn header(token: &str) -> &str {
        token.split('.').next().unwrap()
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_token(text in "[A-Za-z0-9_.-]{0,300}") {
            prop_assert!(tokens(&ManualClock::at(NOW)).verify(&text).is_err());
        }

        /// Header and claims of any shape, signed with the right key: only what this server
        /// itself would write is taken.
        #[test]
        fn no_claim_of_another_shape_is_taken(name in "iss|aud|sub|sid|exp|[a-h]{4}", value in value()) {
            let tokens = tokens(&ManualClock::at(NOW));
            let token = tokens.sign(caller()).unwrap();
            let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let good: serde_json::Value = serde_json::from_slice(&claims).unwrap();
            let mut changed = good.clone();
            changed[&name] = value;
            let (header, key) = &tokens.keys().signing;
            let forged = encode(header, &changed, key).unwrap();
            prop_assert_eq!(tokens.verify(&forged).is_ok(), changed == good);
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (0..1_764_000_000_i64).prop_map(Into::into),
            "[a-z_0-9]{0,40}".prop_map(Into::into),
        ]
    }
}
