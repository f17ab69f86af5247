//! Failures of a route: its codes by their HTTP status, each as the error table tells it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ingress::reply;
use crate::protocol::code::ErrorCode;

/// Shared answers of the document, by name.
pub(super) type Responses = Map<String, Value>;

/// The answers for these codes, by status. Each is added to `shared` and referred to from there.
pub(super) fn answers(codes: &[ErrorCode], shared: &mut Responses) -> BTreeMap<u16, Value> {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in ErrorCode::ALL.iter().filter(|code| codes.contains(code)) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let refer = |(status, codes): (u16, Vec<ErrorCode>)| {
        let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
        let name = names.join("-");
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        shared.entry(name).or_insert_with(|| answer(status, &codes));
        (status, reference)
    };
    by_status.into_iter().map(refer).collect()
}

/// One answer, with an example for each code.
fn answer(status: u16, codes: &[ErrorCode]) -> Value {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    let meanings: Vec<_> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.name(), code.sentence_en()))
        .collect();
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            (
                code.name().to_owned(),
                json!({"value": reply::example(*code)}),
            )
        })
        .collect();
    json!({
        "description": meanings.join(" "),
        "headers": headers(status),
        "content": {reply::PROBLEM: {
            "schema": {"allOf": [
                {"$ref": "#/components/schemas/Problem"},
                {"properties": {"status": {"const": status}, "code": {"enum": names}}},
            ]},
            "examples": examples,
        }},
    })
}

fn retry_after() -> Value {
    json!({
        "description": "Seconds until a retry may help.",
        "schema": {"type": "integer", "minimum": 1}, "required": true,
    })
}

/// The headers that go with some failures.
fn headers(status: u16) -> Value {
    let text = json!({"type": "string"});
    match status {
        401 => json!({"WWW-Authenticate": {
            "description": "How to authenticate (RFC 9110 11.6.1).", "schema": text, "required": true,
        }}),
        429 => json!({
            "Retry-After": retry_after(),
            "RateLimit": {"description": "What is left of the limit that refused, and when it is back.", "schema": text},
            "RateLimit-Policy": {"description": "The limit that refused, if it is one of rate.", "schema": text},
        }),
        503 => json!({"Retry-After": retry_after()}),
        _ => json!({}),
    }
}
