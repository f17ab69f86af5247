//! Answers: JSON, lists by pages, and failures as `application/problem+json` (RFC 9457).
//!
//! Every failure of a request is rendered here, from the one table in `protocol/code.rs`. A
//! fault of ours is logged here too, once, under an id that the answer carries: the cause goes to
//! the log and never to the caller.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json as value};
use warp::http::StatusCode;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::reply::Response;

use super::call::Language;
use crate::error::{Error, FieldError, Policy};
use crate::model::causes::causes;
use crate::model::position::Position;
use crate::model::trace::TraceId;
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
    response
}

/// What every answer tells browsers, unless it says something of its own: it is what it says it
/// is, it holds nothing to run and nothing to frame, and where it came from is nobody's business.
pub fn secure(response: &mut Response) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
}

/// One page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<'a, T> {
    items: &'a [T],
    /// The cursor of the next page; null on the last one.
    next: Option<&'a str>,
}

/// One page of a list: `{"items":[…],"next":"…"|null}`, with a `Link` to the next page (RFC 8288).
pub fn page<T: Serialize>(path: &str, limit: u32, items: &[T], next: Option<&str>) -> Response {
    let mut response = json(StatusCode::OK, &Page { items, next });
    if let Some(next) = next {
        let link = format!("<{path}?limit={limit}&cursor={next}>; rel=\"next\"");
        set(&mut response, header::LINK, &link);
    }
    response
}

/// The content type of failures.
pub const PROBLEM: &str = "application/problem+json";

/// A failure (RFC 9457).
#[derive(Serialize, JsonSchema)]
pub struct Problem<'a> {
    /// `urn:qunliu:error:` and the code.
    r#type: String,
    /// For people, in Chinese or English by `Accept-Language`.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    code: ErrorCode,
    /// For the developer of the client.
    detail: &'a str,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// When a retry may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// For a reference to a dead position: the last valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_up_to: Option<Position>,
    /// With `internal`: names the line in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// What a failure with this code looks like in English.
pub fn example(code: ErrorCode) -> Value {
    let mut example = value!({
        "type": kind(code),
        "title": code.sentence_en(),
        "status": code.status(),
        "code": code,
        "detail": code.sentence_en(),
    });
    if code == ErrorCode::BadRequest {
        example["errors"] = value!([FieldError {
            field: "name".to_owned(),
            detail: "missing field `name`".to_owned(),
        }]);
    }
    if matches!(code, ErrorCode::Busy | ErrorCode::RateLimited) {
        example["retry_after_ms"] = value!(800);
    }
    example
}

fn kind(code: ErrorCode) -> String {
    format!("urn:qunliu:error:{}", code.name())
}

/// A failure, in the language of the one who asked. Logs its cause.
pub fn problem(error: &Error, language: Language, trace: TraceId) -> Response {
    problem_as(status(error.code), error, language, trace)
}

/// A failure that another specification gives another status than the table.
pub fn problem_as(
    status: StatusCode,
    error: &Error,
    language: Language,
    trace: TraceId,
) -> Response {
    let code = error.code;
    let problem = Problem {
        r#type: kind(code),
        title: language.sentence(code),
        status: status.as_u16(),
        code,
        detail: &error.detail,
        errors: &error.fields,
        retry_after_ms: error.retry_after_ms,
        valid_up_to: error.valid_up_to,
        id: log(error, trace),
    };
    let text = serde_json::to_vec(&problem).expect("plain data with string keys always serialises");
    let mut response = with_text(status, PROBLEM, text);
    set(&mut response, header::CONTENT_LANGUAGE, language.tag());
    advise(&mut response, error);
    response
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The headers that go with some failures.
fn advise(response: &mut Response, error: &Error) {
    if let Some(millis) = error.retry_after_ms {
        let seconds = millis.div_ceil(1000).max(1).to_string();
        set(response, header::RETRY_AFTER, &seconds);
        if let Some(policy) = &error.exceeded {
            tell_policy(response, policy, &seconds);
        }
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        set(
            response,
            header::WWW_AUTHENTICATE,
            "Bearer realm=\"qunliu\"",
        );
    }
}

/// What was exceeded, as in draft-ietf-httpapi-ratelimit-headers-11: structured fields (RFC 9651),
/// a list of policies by name with quota `q` and window `w`, and beside it what remains `r` and in
/// how many seconds there is more `t`.
fn tell_policy(response: &mut Response, policy: &Policy, seconds: &str) {
    const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    let Policy {
        name,
        quota,
        window_s,
    } = policy;
    let policy = format!("\"{name}\";q={quota};w={window_s}");
    set(response, RATELIMIT_POLICY, &policy);
    set(response, RATELIMIT, &format!("\"{name}\";r=0;t={seconds}"));
}

/// Logs a fault of ours, and answers the id under which it stands in the log. The line's span
/// carries it too, but may be filtered out.
fn log(error: &Error, trace: TraceId) -> Option<String> {
    match error.code {
        ErrorCode::Internal => {
            tracing::error!(id = %trace, cause = %causes(error), "a request failed");
            Some(trace.to_string())
        }
        ErrorCode::Busy if error.source.is_some() => {
            tracing::warn!(id = %trace, cause = %causes(error), "a request was put off");
            None
        }
        _ => None,
    }
}

/// Sets a header; a value that cannot stand in one is left out.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn problem_of(error: &Error) -> Value {
        let response = problem(error, Language::En, TraceId([0xab; 16]));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_fault_of_ours_is_named_by_the_trace_of_its_request_and_its_cause_is_not_told() {
        let told = problem_of(&Error::internal("the disk is on fire")).await;
        assert_eq!(told["id"], "ab".repeat(16));
        assert!(!told.to_string().contains("fire"), "{told}");
        let told = problem_of(&Error::not_found("group")).await;
        assert_eq!(told.get("id"), None);
    }
}
