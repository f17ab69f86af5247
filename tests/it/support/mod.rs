//! What tests share: finding the real services, and waiting for conditions.

use std::time::Duration;

use serde_json::Value;

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod door;
pub(crate) mod fixture;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod embedded;
pub(crate) mod forwarder;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod mongo;
pub(crate) mod node;
pub(crate) mod operators;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod redis;
pub(crate) mod sample;
#[macro_use]
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod scene;
pub(crate) mod sentinels;
pub(crate) mod server;
pub(crate) mod services;
pub(crate) mod session;
pub(crate) mod socket;
pub(crate) mod sqlite;
pub(crate) mod tables;
pub(crate) mod work;

/// The address of a real service from the environment, as `scripts/services env` prints it;
/// `None` when it is not running, which fails the test when `REQUIRE_BACKENDS=1`.
pub(crate) fn service(variable: &str) -> Option<String> {
    let address = env(variable);
    if address.is_none() && env("REQUIRE_BACKENDS").is_some_and(|value| value == "1") {
        panic!("{variable} is not set and REQUIRE_BACKENDS=1: start them with scripts/services");
    }
    if address.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    address
}

/// Waits until `holds` does, looking again and again.
pub(crate) async fn eventually(deadline: Duration, holds: impl AsyncFn() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(deadline, looking).await;
    assert!(found.is_ok(), "it did not come true within {deadline:?}");
}

/// What a node answers while the machine holds it up: it read the log of revocations too long ago,
/// or a log was silent for a moment. Whoever is told so asks the same again.
const HELD_UP: [&str; 3] = [
    "it cannot be seen whether the session goes on; try again",
    "the log does not answer; nothing was sent to it",
    "a store stopped answering; the outcome is unknown: send the same again",
];

/// How long whoever was answered so is to wait, if only the machine was slow. All other refusals
/// are what a test is about.
pub(crate) fn held_up(answer: &Value) -> Option<Duration> {
    let text = answer.get("detail").or(answer.get("message"))?.as_str()?;
    let is_held_up = HELD_UP.iter().any(|told| text.starts_with(told));
    let retry_after_ms = answer["retry_after_ms"].as_u64()?;
    is_held_up.then(|| Duration::from_millis(retry_after_ms))
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their services in the environment"
)]
pub(crate) fn env(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}
