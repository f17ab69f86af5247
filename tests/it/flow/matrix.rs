//! Every route against whoever must not pass: without a token, with one whose session was ended,
//! in a group of others, in a group that does not exist; and against every role, in `roles`. The
//! table must name every route there is, so a route that nobody thought of here fails.

mod roles;

use std::collections::BTreeSet;

use reqwest::Method;

use qunliu::ingress::{docs, page};
use qunliu::model::permission::Action::{
    self, Appoint, ChangeSettings, Invite, MentionAll, Read, Remove, Send,
};

use self::Asks::{Nothing, Standing, Token};

use crate::support::server::{Answer, Client, Person, TestServer};

/// What a route asks of its caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Nothing.
    Nothing,
    /// A token.
    Token,
    /// A token, and a role in the group of the path that may do this.
    Standing(Action),
}

/// Method, path, what it asks, and a body that it would take.
const ROUTES: &[(&str, &str, Asks, Option<&str>)] = &[
    ("POST", "/v1/auth/register", Nothing, None),
    ("POST", "/v1/auth/login", Nothing, None),
    ("POST", "/v1/auth/refresh", Nothing, None),
    ("POST", "/v1/auth/logout", Token, None),
    ("POST", "/v1/auth/ticket", Token, None),
    ("GET", "/v1/me", Token, None),
    ("PATCH", "/v1/me", Token, Some(r#"{"display_name":"d"}"#)),
    ("GET", "/v1/me/sessions", Token, None),
    ("DELETE", "/v1/me/sessions/{session}", Token, None),
    ("PUT", "/v1/me/password", Token, Some(PASSWORDS)),
    ("POST", "/v1/auth/logout-all", Token, None),
    ("GET", "/v1/users", Token, None),
    ("POST", "/v1/groups", Token, Some(r#"{"name":"g"}"#)),
    ("GET", "/v1/groups", Token, None),
    ("GET", "/v1/groups/{group}", Standing(Read), None),
    (
        "PATCH",
        "/v1/groups/{group}",
        Standing(ChangeSettings),
        Some(r#"{"name":"g"}"#),
    ),
    ("GET", "/v1/groups/{group}/members", Standing(Read), None),
    (
        "POST",
        "/v1/groups/{group}/members",
        Standing(Invite),
        Some(r#"{"users":["{user}"]}"#),
    ),
    (
        "PATCH",
        "/v1/groups/{group}/members/{user}",
        Standing(Appoint),
        Some(r#"{"role":"admin"}"#),
    ),
    (
        "DELETE",
        "/v1/groups/{group}/members/{user}",
        Standing(Remove),
        None,
    ),
    ("GET", "/v1/groups/{group}/messages", Standing(Read), None),
    (
        "POST",
        "/v1/groups/{group}/messages",
        Standing(Send),
        Some(MESSAGE),
    ),
    (
        "POST",
        "/v1/groups/{group}/messages",
        Standing(MentionAll),
        Some(MESSAGE_TO_ALL),
    ),
    (
        "PUT",
        "/v1/groups/{group}/read",
        Standing(Read),
        Some(r#"{"pos":[1,1]}"#),
    ),
    ("GET", "/v1/groups/{group}/presence", Standing(Read), None),
    ("POST", "/v1/groups/{group}/leave", Standing(Read), None),
    ("GET", "/v1/unread", Token, None),
    // The socket proves its token in its first frame.
    ("GET", "/v1/socket", Nothing, None),
    ("GET", "/healthz", Nothing, None),
    ("GET", "/readyz", Nothing, None),
    ("GET", "/openapi.json", Nothing, None),
];

const PASSWORDS: &str = r#"{"password":"correct horse","new_password":"right horse"}"#;

const MESSAGE: &str = r#"{"client_id":"0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f12",
    "body":{"kind":"text","text":"hello"}}"#;

const MESSAGE_TO_ALL: &str = r#"{"client_id":"0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f13",
    "body":{"kind":"text","text":"hello"},"mentions":"all"}"#;

/// Calls each of these routes, of `group` and about `user`.
async fn call_all(
    client: &Client,
    is_called: impl Fn(Asks) -> bool,
    group: &str,
    user: &str,
) -> Vec<(&'static str, Asks, Answer)> {
    let mut answers = Vec::new();
    for (method, path, asks, body) in ROUTES {
        if !is_called(*asks) {
            continue;
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let target = path.replace("{group}", group).replace("{user}", user);
        let answer = match body {
            Some(body) => {
                client
                    .json(method, &target, &body.replace("{user}", user))
                    .await
            }
            None => client.send(method, &target, &[], None).await,
        };
        answers.push((*path, *asks, answer));
    }
    answers
}

fn with_token(asks: Asks) -> bool {
    asks != Nothing
}

fn in_a_group(asks: Asks) -> bool {
    matches!(asks, Standing(_))
}

async fn group_of_others() -> (TestServer, Person, Person, String) {
    let server = TestServer::start().await;
    let owner = server.register("owner").await;
    let stranger = server.register("stranger").await;
    let path = owner.found("群", &[]).await;
    let group = path.rsplit('/').next().unwrap().to_owned();
    (server, owner, stranger, group)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_names_every_route_and_what_it_asks() {
    let server = TestServer::start().await;
    let there: BTreeSet<_> = server
        .routes()
        .iter()
        .map(|route| (route.method.as_str(), route.path, route.is_open))
        .collect();
    let pages = page::FILES.iter().chain(docs::FILES);
    let pages = pages.map(|file| ("GET", file.path, true));
    let named: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, asks, _)| (*method, *path, *asks == Nothing))
        .chain(pages)
        .collect();
    assert_eq!(there, named);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_nothing_is_told() {
    let (server, owner, _, group) = group_of_others().await;
    for (path, _, answer) in call_all(&server.anyone(), with_token, &group, &owner.id).await {
        assert_eq!(answer.status, 401, "{path}");
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_an_ended_session_opens_nothing() {
    let (_server, owner, _, group) = group_of_others().await;
    let logout = owner
        .client
        .send(Method::POST, "/v1/auth/logout", &[], None)
        .await;
    logout.no_content();
    for (path, _, answer) in call_all(&owner.client, with_token, &group, &owner.id).await {
        assert_eq!(answer.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_others_looks_like_one_that_does_not_exist() {
    let (_server, owner, stranger, group) = group_of_others().await;
    let foreign = call_all(&stranger.client, in_a_group, &group, &owner.id).await;
    let nowhere = format!("g_{}", "0".repeat(32));
    let absent = call_all(&stranger.client, in_a_group, &nowhere, &owner.id).await;
    let no_id = call_all(&stranger.client, in_a_group, "g_1", &owner.id).await;
    for (((path, _, foreign), (_, _, absent)), (_, _, no_id)) in
        foreign.iter().zip(&absent).zip(&no_id)
    {
        assert_eq!(foreign.status, 404, "{path}: {foreign:?}");
        let told = foreign.problem(404, "not_found");
        assert_eq!(told, absent.problem(404, "not_found"), "{path}");
        assert_eq!(told, no_id.problem(404, "not_found"), "{path}");
    }
    assert_eq!(
        owner.client.get(&format!("/v1/groups/{group}")).await.ok()["name"],
        "群"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_told_to_operators_only() {
    let server = TestServer::start().await;
    server
        .anyone()
        .get("/v1/me")
        .await
        .problem(401, "unauthenticated");
    let metrics = server.operator().get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let refused = r#"qunliu_request_errors_total{code="unauthenticated"} 1"#;
    assert!(metrics.text.contains(refused), "{}", metrics.text);
    assert_eq!(server.anyone().get("/metrics").await.status, 404);
    for client in [server.anyone(), server.operator()] {
        assert_eq!(client.get("/healthz").await.status, 200);
        assert_eq!(client.get("/readyz").await.ok()["ready"], true);
    }
    server
        .operator()
        .get("/v1/me")
        .await
        .problem(404, "not_found");
}
