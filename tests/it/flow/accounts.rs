//! Registering, logging in, refreshing, logging out.

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::server::{PASSWORD, Person, TestServer};

flow!(a_wrong_name_and_a_wrong_password_look_alike);

/// The life of an access token, in milliseconds.
const ACCESS_MS: i64 = 900_000;

async fn refresh(server: &TestServer, token: &str) -> crate::support::server::Answer {
    let body = json!({"refresh_token": token});
    server.anyone().post("/v1/auth/refresh", &body).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_account_founds_the_merchant_and_no_later_one_does() {
    let server = TestServer::start().await;
    let body = json!({"name": "li.lei", "password": PASSWORD, "display_name": " 李雷 "});
    let granted = server
        .anyone()
        .post("/v1/auth/register", &body)
        .await
        .created();
    assert_eq!(granted["user"]["display_name"], "李雷");
    assert_eq!(granted["merchant"]["role"], "owner");
    assert_eq!(granted["expires_in"], 900);
    let first = Person::of(server.address, &granted);
    let me = first.client.get("/v1/me").await.ok();
    assert_eq!(me["merchants"], json!([granted["merchant"]]));

    let second = server.register("han.meimei").await;
    let me = second.client.get("/v1/me").await.ok();
    assert_eq!(
        (&me["id"], &me["merchants"]),
        (&json!(second.id), &json!([]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_strangers_come_the_first_account_needs_the_setup_code() {
    let beyond_loopback = [
        ("QUNLIU_SERVER_LISTEN", "0.0.0.0:0"),
        ("QUNLIU_HTTP_INSECURE", "true"),
    ];
    let behind_a_proxy = [("QUNLIU_HTTP_PROXIES", "127.0.0.0/8")];
    for keys in [&beyond_loopback[..], &behind_a_proxy] {
        let server = TestServer::start_with(keys).await;
        first_account_needs_the_code(&server).await;
    }
}

async fn first_account_needs_the_code(server: &TestServer) {
    let code = server.setup_code().unwrap().to_owned();
    let mut body = json!({"name": "li.lei", "password": PASSWORD, "display_name": "李雷"});
    let register = async |body: &Value| server.anyone().post("/v1/auth/register", body).await;
    for wrong in [Value::Null, json!(""), json!("0123456789abcdef0123")] {
        body["setup_code"] = wrong;
        let problem = register(&body).await.problem(403, "forbidden");
        assert_eq!(problem["errors"][0]["field"], "setup_code");
    }
    body["setup_code"] = json!(code);
    assert_eq!(register(&body).await.created()["merchant"]["role"], "owner");
    let other = json!({"name": "han.meimei", "password": PASSWORD, "display_name": "韩梅梅"});
    assert_eq!(register(&other).await.created()["merchant"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_name_is_a_conflict() {
    let server = TestServer::start().await;
    server.register("li.lei").await;
    let body = json!({"name": "li.lei", "password": PASSWORD, "display_name": "另一个"});
    let problem = server
        .anyone()
        .post("/v1/auth/register", &body)
        .await
        .problem(409, "conflict");
    assert_eq!(problem["errors"][0]["field"], "name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_passwords_out_of_bounds_are_refused_by_field() {
    let server = TestServer::start().await;
    let good = json!({"name": "li.lei", "password": PASSWORD, "display_name": "李雷"});
    let long = "a".repeat(129);
    for (field, wrong) in [
        ("name", "Li Lei"),
        ("name", "a"),
        ("name", "li\0lei"),
        ("password", "short"),
        ("password", "password123"),
        ("password", &long),
        ("password", "nul\0nul\0nul"),
        ("display_name", "  "),
        ("display_name", "李\0雷"),
    ] {
        let mut body = good.clone();
        body[field] = json!(wrong);
        server
            .anyone()
            .post("/v1/auth/register", &body)
            .await
            .names_field(field);
    }
}

async fn a_wrong_name_and_a_wrong_password_look_alike(place: Place) {
    let server = place.serve(&[]).await;
    server.register("li.lei").await;
    let log_in = async |name: &str, password: &str| {
        let body = json!({"name": name, "password": password});
        server
            .anyone()
            .post("/v1/auth/login", &body)
            .await
            .problem(401, "unauthenticated")
    };
    let wrong_password = log_in("li.lei", "wrong horse battery").await;
    assert_eq!(wrong_password, log_in("nobody", PASSWORD).await);
    assert_eq!(wrong_password, log_in("No Name\0", "").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_refresh_token_gives_the_same_successor_for_half_a_minute() {
    let server = TestServer::start().await;
    server.register("li.lei").await;
    let person = server.log_in("li.lei", PASSWORD, "web-1").await;
    let first = refresh(&server, &person.refresh_token).await.ok();
    server.clock.advance(30_000);
    let again = refresh(&server, &person.refresh_token).await.ok();
    assert_eq!(first["refresh_token"], again["refresh_token"]);
    assert_ne!(first["refresh_token"], person.refresh_token.as_str());
    let next = refresh(&server, text(&first["refresh_token"])).await.ok();
    let client = server.anyone().with_token(text(&next["access_token"]));
    assert_eq!(client.get("/v1/me").await.ok()["id"], person.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_used_again_later_ends_the_session() {
    let server = TestServer::start().await;
    server.register("li.lei").await;
    let (person, other) = (
        server.log_in("li.lei", PASSWORD, "web-1").await,
        server.log_in("li.lei", PASSWORD, "web-1").await,
    );
    let first = refresh(&server, &person.refresh_token).await.ok();
    server.clock.advance(30_001);
    refresh(&server, &person.refresh_token)
        .await
        .problem(401, "unauthenticated");
    refresh(&server, text(&first["refresh_token"]))
        .await
        .problem(401, "unauthenticated");
    let client = server.anyone().with_token(text(&first["access_token"]));
    client.get("/v1/me").await.problem(401, "unauthenticated");
    assert_eq!(other.client.get("/v1/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refreshes_at_once_agree_on_one_successor() {
    let server = TestServer::start().await;
    let person = server.register("li.lei").await;
    let asked = (0..8).map(|_| refresh(&server, &person.refresh_token));
    let answers = futures::future::join_all(asked).await;
    let successors: std::collections::HashSet<_> = answers
        .iter()
        .map(|answer| text(&answer.ok()["refresh_token"]).to_owned())
        .collect();
    assert_eq!(successors.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_that_is_not_renewed_for_thirty_days() {
    let server = TestServer::start().await;
    let person = server.register("li.lei").await;
    server.clock.advance(30 * 24 * 3_600_000);
    refresh(&server, &person.refresh_token)
        .await
        .problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_that_ran_out_says_so() {
    let server = TestServer::start().await;
    let person = server.register("li.lei").await;
    server.clock.advance(ACCESS_MS - 1);
    assert_eq!(person.client.get("/v1/me").await.status, 200);
    server.clock.advance(1);
    let answer = person.client.get("/v1/me").await;
    answer.problem(401, "token_expired");
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_ends_its_session_at_once_and_no_other() {
    let server = TestServer::start().await;
    let person = server.register("li.lei").await;
    let other = server.log_in("li.lei", PASSWORD, "web-1").await;
    assert_eq!(person.client.get("/v1/me").await.status, 200);
    person
        .client
        .post("/v1/auth/logout", &json!({}))
        .await
        .no_content();
    person
        .client
        .get("/v1/me")
        .await
        .problem(401, "unauthenticated");
    refresh(&server, &person.refresh_token)
        .await
        .problem(401, "unauthenticated");
    assert_eq!(other.client.get("/v1/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_outlive_a_restart() {
    let server = TestServer::start().await;
    let person = server.register("li.lei").await;
    let server = server.restart().await;
    let client = server.anyone().with_token(&person.access_token);
    assert_eq!(client.get("/v1/me").await.ok()["id"], person.id);
    refresh(&server, &person.refresh_token).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_server_is_refused() {
    let (one, other) = (TestServer::start().await, TestServer::start().await);
    let stranger = other.register("li.lei").await;
    one.register("li.lei").await;
    let client = one.anyone().with_token(&stranger.access_token);
    client.get("/v1/me").await.problem(401, "unauthenticated");
    refresh(&one, &stranger.refresh_token)
        .await
        .problem(401, "unauthenticated");
    for header in ["", "Bearer", "Bearer ", "Basic bGk6bGVp", "Bearer a.b.c"] {
        let headers = [("authorization", header)];
        let answer = one
            .anyone()
            .send(reqwest::Method::GET, "/v1/me", &headers, None)
            .await;
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_from_one_address_are_limited_and_told_when_to_come_back() {
    let keys = [
        ("QUNLIU_LIMITS_EXEMPT", ""),
        ("QUNLIU_LIMITS_LOGINS_PER_MINUTE", "2"),
    ];
    let server = TestServer::start_with(&keys).await;
    server.register("li.lei").await;
    for _ in 0..2 {
        server.log_in("li.lei", PASSWORD, "web-1").await;
    }
    let body = json!({"name": "li.lei", "password": PASSWORD});
    let answer = server.anyone().post("/v1/auth/login", &body).await;
    let problem = answer.problem(429, "rate_limited");
    assert!(
        problem["retry_after_ms"]
            .as_u64()
            .is_some_and(|wait| wait <= 30_000)
    );
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_log_ins_than_may_wait_are_told_to_come_back() {
    let keys = [
        ("QUNLIU_AUTH_HASHES_AT_ONCE", "1"),
        ("QUNLIU_AUTH_HASHES_WAITING_MAX", "0"),
    ];
    let server = TestServer::start_with(&keys).await;
    let body = json!({"name": "nobody", "password": PASSWORD});
    let asked = (0..16).map(|_| async { server.anyone().post("/v1/auth/login", &body).await });
    let answers = futures::future::join_all(asked).await;
    let busy = answers.iter().filter(|answer| answer.status == 503).count();
    assert!((1..16).contains(&busy), "{busy} of 16 were sent away");
    for answer in answers.iter().filter(|answer| answer.status == 503) {
        answer.problem(503, "busy");
        assert_eq!(answer.header("retry-after"), "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sees_only_people_one_shares_a_group_or_a_merchant_with() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let (member, stranger) = (
        server.register("han.meimei").await,
        server.register("lucy").await,
    );
    owner.found("老街面馆", &[&member]).await;
    let path = format!("/v1/users?ids={},{},{}", owner.id, member.id, stranger.id);
    let names = |answer: Value| -> std::collections::BTreeSet<String> {
        let items = answer["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|user| text(&user["name"]).to_owned())
            .collect()
    };
    let seen = names(member.client.get(&path).await.ok());
    assert_eq!(seen, ["han.meimei", "li.lei"].map(str::to_owned).into());
    let seen = names(stranger.client.get(&path).await.ok());
    assert_eq!(seen, ["lucy"].map(str::to_owned).into());
    member
        .client
        .get("/v1/users?ids=u_1")
        .await
        .names_field("ids");
    member.client.get("/v1/users").await.names_field("ids");
    let many = vec![owner.id.as_str(); 101].join(",");
    member
        .client
        .get(&format!("/v1/users?ids={many}"))
        .await
        .names_field("ids");
}
