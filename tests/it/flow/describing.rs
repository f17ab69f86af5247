//! The API's description of itself: `/openapi.json` against what the server really serves.

use std::collections::BTreeSet;

use qunliu::ingress::{docs, page};
use reqwest::Method;
use serde_json::Value;

use crate::support::server::TestServer;

/// What every operation of the document is: method, path, description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods
            .into_iter()
            .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

/// What stands at a reference within the document, or the value itself.
fn follow<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

async fn document(server: &TestServer) -> Value {
    server.anyone().get("/openapi.json").await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_is_described_and_what_is_described_is_served() {
    let server = TestServer::start().await;
    let document = document(&server).await;
    let described: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(method, path, operation)| {
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            (method, path, is_open)
        })
        .collect();
    let pages = page::FILES.iter().chain(docs::FILES);
    let pages: BTreeSet<_> = pages.map(|file| file.path).collect();
    let served: BTreeSet<_> = server
        .routes()
        .iter()
        .filter(|route| !pages.contains(route.path))
        .map(|route| {
            (
                route.method.to_string(),
                route.path.to_owned(),
                route.is_open,
            )
        })
        .collect();
    assert_eq!(described, served);
    for (method, path, _) in described {
        let target = path.replace(['{', '}'], "");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = server.anyone().send(method, &target, &[], None).await;
        let is_nowhere = answer.status == 405 || answer.text.contains("no such path");
        assert!(!is_nowhere, "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_has_a_name_of_its_own_and_says_how_it_ends() {
    let server = TestServer::start().await;
    let document = document(&server).await;
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(name.clone()), "{name} stands twice");
        assert!(
            operation["summary"].as_str().unwrap().ends_with('.'),
            "{name}"
        );
        let answers = operation["responses"].as_object().unwrap();
        let succeeds = |status: &String| status.starts_with('2') || status.starts_with('1');
        assert!(
            answers.keys().any(succeeds),
            "{method} {path} never succeeds"
        );
        let is_limited = !["/healthz", "/readyz", "/metrics"].contains(&path.as_str());
        assert_eq!(answers.contains_key("429"), is_limited, "{name}");
        for (status, answer) in answers {
            let answer = follow(&document, answer);
            assert!(answer["description"].is_string(), "{name} {status}");
            let bodiless = ["101", "204", "304"].contains(&status.as_str());
            assert_eq!(answer["content"].is_null(), bodiless, "{name} {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_variable_of_a_path_is_an_id() {
    let server = TestServer::start().await;
    let document = document(&server).await;
    for (_, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().unwrap();
        let variables = parameters.iter().filter(|asked| asked["in"] == "path");
        let mut count = 0;
        for variable in variables {
            let schema = follow(&document, &variable["schema"]);
            assert!(schema["pattern"].is_string(), "{path} {variable}");
            count += 1;
        }
        assert_eq!(count, path.matches('{').count(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_takes_what_is_described_and_nothing_else() {
    let server = TestServer::start().await;
    let owner = server.register("owner").await;
    let group = owner.found("群", &[]).await;
    let document = document(&server).await;
    for (method, path, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array().unwrap();
        let known = parameters.iter().filter(|asked| asked["in"] == "query");
        let known: Vec<_> = known.map(|asked| asked["name"].as_str().unwrap()).collect();
        if known.is_empty() {
            continue;
        }
        assert_eq!(method, "GET", "{path}");
        let path = path.replace("/v1/groups/{group}", &group);
        owner
            .client
            .get(&format!("{path}?nmae=1"))
            .await
            .names_field("nmae");
        for name in known {
            let answer = owner.client.get(&format!("{path}?{name}=")).await;
            assert!(!answer.text.contains("no such parameter"), "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_one_has_is_not_sent_again() {
    let server = TestServer::start().await;
    let first = server.anyone().get("/openapi.json").await;
    assert_eq!(first.header("content-type"), "application/json");
    let held = [("if-none-match", first.header("etag"))];
    let again = server
        .anyone()
        .send(Method::GET, "/openapi.json", &held, None)
        .await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
}
