//! What tests share: finding the real services, and waiting for conditions.

use std::time::Duration;

pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod door;
pub(crate) mod fixture;
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

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their services in the environment"
)]
pub(crate) fn env(variable: &str) -> Option<String> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
}
