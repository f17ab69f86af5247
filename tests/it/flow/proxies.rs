//! Whose request it is: what a declared proxy says, and nobody else.

use reqwest::Method;
use serde_json::json;

use crate::support::server::{PASSWORD, TestServer};

/// One log-in a minute from an address.
const ONE: (&str, &str) = ("QUNLIU_LIMITS_LOGINS_PER_MINUTE", "1");
/// Whoever connects from this machine is a proxy.
const PROXY: (&str, &str) = ("QUNLIU_HTTP_PROXIES", "127.0.0.0/8");

/// The status of a log-in with this header.
async fn log_in(server: &TestServer, name: &str, value: &str) -> u16 {
    let body = json!({"name": "li.lei", "password": PASSWORD}).to_string();
    let headers = [("content-type", "application/json"), (name, value)];
    let client = server.anyone();
    let call = client.send(Method::POST, "/v1/auth/login", &headers, Some(body.into()));
    call.await.status
}

async fn serve(keys: &[(&str, &str)]) -> TestServer {
    let server = TestServer::start_with(keys).await;
    server.register("li.lei").await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_declared_proxy_no_header_is_believed() {
    let server = serve(&[ONE, ("QUNLIU_LIMITS_EXEMPT", "")]).await;
    assert_eq!(log_in(&server, "x-forwarded-for", "203.0.113.1").await, 200);
    for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        assert_eq!(log_in(&server, name, "203.0.113.2").await, 429, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_everybody_has_an_own_budget_and_cannot_take_another() {
    let server = serve(&[ONE, PROXY]).await;
    let from = async |list: &str| log_in(&server, "x-forwarded-for", list).await;
    assert_eq!(from("203.0.113.1").await, 200);
    assert_eq!(from("203.0.113.2").await, 200);
    // Whatever the client wrote itself stands before what the proxy saw.
    for spoofed in [
        "198.51.100.1, 203.0.113.1",
        "127.0.0.1, 203.0.113.1",
        "203.0.113.1:99",
    ] {
        assert_eq!(from(spoofed).await, 429, "{spoofed}");
    }
    let other = "for=198.51.100.9";
    let standing = log_in(&server, "forwarded", other).await;
    assert_eq!(standing, 200, "the proxy itself, by its first log-in");
    assert_eq!(log_in(&server, "forwarded", other).await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_header_is_read_where_it_is_declared() {
    let keys = [ONE, PROXY, ("QUNLIU_HTTP_PROXY_HEADER", "forwarded")];
    let server = serve(&keys).await;
    let from = async |value: &str| log_in(&server, "forwarded", value).await;
    assert_eq!(from("for=203.0.113.1").await, 200);
    assert_eq!(
        from("for=198.51.100.1, for=203.0.113.1;proto=https").await,
        429
    );
    assert_eq!(from("for=\"[2001:db8::1]:4711\"").await, 200);
    assert_eq!(from("for=\"[2001:db8::2]\"").await, 429, "the same line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_on_this_machine_exempts_nobody() {
    let server = serve(&[ONE, PROXY]).await;
    assert_eq!(log_in(&server, "x-other", "1").await, 200);
    assert_eq!(log_in(&server, "x-other", "1").await, 429);
    let named = serve(&[ONE, PROXY, ("QUNLIU_LIMITS_EXEMPT", "127.0.0.0/8")]).await;
    for _ in 0..3 {
        assert_eq!(log_in(&named, "x-other", "1").await, 200);
    }
}
