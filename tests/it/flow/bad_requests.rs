//! What is refused before anything looks at it, and what the refusal says.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::server::{PASSWORD, Person, TestServer};

async fn owner() -> (TestServer, Person) {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    (server, owner)
}

/// Every call that takes a body, with a good one.
fn bodies(group: &str, other: &Person, refresh_token: &str) -> Vec<(Method, String, Value)> {
    let register = json!({"name": "lucy", "password": PASSWORD, "display_name": "Lucy"});
    let login = json!({"name": "li.lei", "password": PASSWORD, "device": "web-1"});
    vec![
        (Method::POST, "/v1/auth/register".to_owned(), register),
        (Method::POST, "/v1/auth/login".to_owned(), login),
        (
            Method::POST,
            "/v1/auth/refresh".to_owned(),
            json!({"refresh_token": refresh_token}),
        ),
        (
            Method::POST,
            "/v1/groups".to_owned(),
            json!({"name": "群", "members": [other.id]}),
        ),
        (Method::PATCH, group.to_owned(), json!({"name": "群"})),
        (
            Method::POST,
            format!("{group}/members"),
            json!({"users": [other.id], "role": "member"}),
        ),
        (
            Method::PATCH,
            format!("{group}/members/{}", other.id),
            json!({"role": "admin"}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bodies_are_refused_by_every_call_that_takes_one() {
    let (server, owner) = owner().await;
    let other = server.register("han.meimei").await;
    let group = owner.found("群", &[&other]).await;
    let deep = format!(r#"{{"name":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    for (method, path, good) in bodies(&group, &other, &owner.refresh_token) {
        let good = good.to_string();
        let twice = format!("{{\"name\":\"a\",\"name\":\"b\",{}", &good[1..]);
        let unclosed = &good[..good.len() - 1];
        let trailing = format!("{good} {{}}");
        let long_run = "[".repeat(100_000);
        for bad in [
            "", "null", "[]", "1", "\"text\"", unclosed, &trailing, &twice, &deep, &long_run,
        ] {
            let answer = owner.client.json(method.clone(), &path, bad).await;
            answer.problem(400, "bad_request");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_a_missing_and_a_mistyped_field_are_named() {
    let (server, owner) = owner().await;
    let other = server.register("han.meimei").await;
    let group = owner.found("群", &[&other]).await;
    for (method, path, good) in bodies(&group, &other, &owner.refresh_token) {
        let mut unknown = good.clone();
        unknown["nmae"] = json!(1);
        let answer = owner
            .client
            .json(method.clone(), &path, &unknown.to_string())
            .await;
        answer.names_field("nmae");
        for field in good.as_object().unwrap().keys() {
            for wrong in [
                json!(1),
                json!(true),
                json!({"$gt": ""}),
                json!([[]]),
                json!(1.5),
            ] {
                let mut mistyped = good.clone();
                mistyped[field] = wrong;
                let answer = owner
                    .client
                    .json(method.clone(), &path, &mistyped.to_string())
                    .await;
                let problem = answer.problem(400, "bad_request");
                let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
                assert!(
                    named.starts_with(field.as_str()),
                    "{path} {field}: {problem}"
                );
            }
        }
    }
    let answer = owner
        .client
        .post("/v1/auth/login", &json!({"name": "li.lei"}))
        .await;
    let problem = answer.problem(400, "bad_request");
    assert!(
        problem["detail"].as_str().unwrap().contains("password"),
        "{problem}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nul_and_lone_surrogates_are_refused_wherever_text_is_taken() {
    let (server, owner) = owner().await;
    let other = server.register("han.meimei").await;
    let group = owner.found("群", &[&other]).await;
    for (method, path, good) in bodies(&group, &other, &owner.refresh_token) {
        for field in good.as_object().unwrap().keys() {
            let is_login = path.ends_with("login") && field != "device";
            for text in [
                r#""a\u0000bcdefgh""#,
                r#""\ud800abcdefg""#,
                r#""\udc00abcdefg""#,
            ] {
                let mut marked = good.clone();
                marked[field] = json!("MARK");
                let body = marked.to_string().replace("\"MARK\"", text);
                let status = owner.client.json(method.clone(), &path, &body).await.status;
                let refused =
                    status == 400 || (status == 401 && (is_login || field == "refresh_token"));
                assert!(refused, "{path} {field} {text}: {status}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_its_limit_is_refused_before_it_is_parsed() {
    let (_server, owner) = owner().await;
    let body = format!(r#"{{"name":"{}"}}"#, "a".repeat(200_000));
    let answer = owner.client.json(Method::POST, "/v1/groups", &body).await;
    answer.problem(413, "too_large");
    let fits = format!(r#"{{"name":"{}"}}"#, "a".repeat(160_000));
    owner
        .client
        .json(Method::POST, "/v1/groups", &fits)
        .await
        .names_field("name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_content_type_is_unsupported() {
    let (_server, owner) = owner().await;
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let headers = [("content-type", content_type)];
        let body = Some(br#"{"name":"g"}"#.to_vec());
        let answer = owner
            .client
            .send(Method::POST, "/v1/groups", &headers, body)
            .await;
        answer.problem(415, "unsupported");
    }
    let headers = [("content-type", "Application/JSON; charset=utf-8")];
    let body = Some(br#"{"name":"g"}"#.to_vec());
    owner
        .client
        .send(Method::POST, "/v1/groups", &headers, body)
        .await
        .created();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_path_is_not_found_and_an_unknown_method_is_told_the_known_ones() {
    let (_server, owner) = owner().await;
    for path in [
        "/nowhere",
        "/v1",
        "/v1/groups/",
        "/v1//groups",
        "/v2/groups",
        "/v1/groups/g_1",
        "/metrics",
    ] {
        owner.client.get(path).await.problem(404, "not_found");
    }
    let answer = owner.client.delete("/v1/groups").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST, GET");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_speaks_the_language_of_the_one_who_asked() {
    let (_server, owner) = owner().await;
    for (asked, title, told) in [
        ("en-GB,en;q=0.9", "Not found", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "找不到", "zh-CN"),
        ("fr", "找不到", "zh-CN"),
    ] {
        let headers = [("accept-language", asked)];
        let answer = owner
            .client
            .send(Method::GET, "/nothing", &headers, None)
            .await;
        assert_eq!(answer.problem(404, "not_found")["title"], title);
        assert_eq!(answer.header("content-language"), told);
    }
}
