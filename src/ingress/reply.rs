//! Answers: JSON, lists by pages, and failures as `application/problem+json` (RFC 9457).
//!
//! Every failure of a request is rendered here, from the one table in `protocol/code.rs`. A
//! fault of ours is logged here too, once, under an id that the answer carries: the cause goes to
//! the log and never to the caller.

use serde::Serialize;
use uuid::Uuid;
use warp::http::StatusCode;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::reply::Response;

use super::call::Language;
use crate::error::{Error, FieldError};
use crate::model::position::Position;
use crate::protocol::code::ErrorCode;

/// `body` as JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_vec(body).expect("plain data with string keys always serialises");
    with_text(status, "application/json", text)
}

/// Done, with nothing to tell.
pub fn no_content() -> Response {
    with_text(StatusCode::NO_CONTENT, "", Vec::new())
}

/// Text of any type.
pub fn with_text(status: StatusCode, content_type: &'static str, text: Vec<u8>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if !content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    // Answers are for the one who asked, and for now.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// One page of a list: `{"items":[…],"next":"…"|null}`, with a `Link` to the next page (RFC 8288).
pub fn page<T: Serialize>(path: &str, limit: u32, items: &[T], next: Option<&str>) -> Response {
    #[derive(Serialize)]
    struct Page<'a, T> {
        items: &'a [T],
        next: Option<&'a str>,
    }
    let mut response = json(StatusCode::OK, &Page { items, next });
    if let Some(next) = next {
        let link = format!("<{path}?limit={limit}&cursor={next}>; rel=\"next\"");
        set(&mut response, header::LINK, &link);
    }
    response
}

/// The text of a failure.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: ErrorCode,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_up_to: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// A failure, in the language of the one who asked. Logs its cause.
pub fn problem(error: &Error, language: Language) -> Response {
    let code = error.code;
    let problem = Problem {
        r#type: format!("urn:qunliu:error:{}", code.name()),
        title: language.sentence(code),
        status: code.status(),
        code,
        detail: &error.detail,
        errors: &error.fields,
        retry_after_ms: error.retry_after_ms,
        valid_up_to: error.valid_up_to,
        id: log(error),
    };
    let text = serde_json::to_vec(&problem).expect("plain data with string keys always serialises");
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = with_text(status, "application/problem+json", text);
    set(&mut response, header::CONTENT_LANGUAGE, language.tag());
    advise(&mut response, error);
    response
}

/// The headers that go with some failures.
fn advise(response: &mut Response, error: &Error) {
    if let Some(millis) = error.retry_after_ms {
        let seconds = millis.div_ceil(1000).max(1).to_string();
        set(response, header::RETRY_AFTER, &seconds);
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        set(
            response,
            header::WWW_AUTHENTICATE,
            "Bearer realm=\"qunliu\"",
        );
    }
}

/// Logs a fault of ours, and answers the id under which it stands in the log.
fn log(error: &Error) -> Option<String> {
    match error.code {
        ErrorCode::Internal => {
            let id = Uuid::new_v4().simple().to_string();
            tracing::error!(%id, cause = %causes(error), "a request failed");
            Some(id)
        }
        ErrorCode::Busy if error.source.is_some() => {
            tracing::warn!(cause = %causes(error), "a request was put off");
            None
        }
        _ => None,
    }
}

/// The chain of causes, the outermost first.
pub fn causes(error: &Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(if text.is_empty() { "" } else { ": " });
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Sets a header; a value that cannot stand in one is left out.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
