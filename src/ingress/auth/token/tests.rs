use super::*;
use crate::clock::ManualClock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::sign;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

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
    let tokens = tokens(&ManualClock::at(NOW));
    let (header, key) = &tokens.keys().signing;
    let header = serde_json::to_value(header).unwrap();
    let token = tokens.sign(caller()).unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let signed = |header: &Value, alg| {
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = sign(message.as_bytes(), key, alg).unwrap();
        format!("{message}.{signature}")
    };
    assert!(tokens.verify(&signed(&header, Algorithm::HS256)).is_ok());
    let own_key = json!({"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode([1; 32])});
    for (name, value) in [
        ("kid", json!("../../secret")),
        ("kid", json!("")),
        ("typ", json!("JWT")),
        ("typ", json!("rt+jwt")),
        ("alg", json!("HS384")),
        ("alg", json!("HS512")),
        ("alg", json!("none")),
        ("cty", json!("JWT")),
        ("jku", json!("http://localhost/keys")),
        ("jwk", own_key),
        ("x5u", json!("http://localhost/chain")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("AAAA")),
        ("x5t#S256", json!("AAAA")),
        ("crit", json!(["exp"])),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
        ("url", json!("http://localhost")),
        ("nonce", json!("AAAA")),
        ("b64", json!(false)),
        ("other", json!("other")),
    ] {
        let mut changed = header.clone();
        changed[name] = value;
        let alg = serde_json::from_value(changed["alg"].clone());
        let forged = signed(&changed, alg.unwrap_or(Algorithm::HS256));
        assert_eq!(
            code(&tokens, &forged),
            ErrorCode::Unauthenticated,
            "{changed}"
        );
    }
    for name in ["kid", "typ", "alg"] {
        let mut without = header.clone();
        without.as_object_mut().unwrap().remove(name);
        let forged = signed(&without, Algorithm::HS256);
        assert_eq!(
            code(&tokens, &forged),
            ErrorCode::Unauthenticated,
            "{without}"
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
    let good = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": caller().user, "sid": caller().session,
        "iat": 1_764_000_000, "nbf": 1_764_000_000, "exp": 1_764_000_900,
    });
    let sign = |claims: &Value| {
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
        let good: Value = serde_json::from_slice(&claims).unwrap();
        let mut changed = good.clone();
        changed[&name] = value;
        let (header, key) = &tokens.keys().signing;
        let forged = encode(header, &changed, key).unwrap();
        prop_assert_eq!(tokens.verify(&forged).is_ok(), changed == good);
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        (0..1_764_000_000_i64).prop_map(Into::into),
        "[a-z_0-9]{0,40}".prop_map(Into::into),
    ]
}
