//! How often and how many: what one may ask, what is told to whoever asks too much, and that REST
//! and sockets spend the same.

use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::eventually;
use crate::support::server::{Answer, PASSWORD, Person, TestServer};
use crate::support::socket::{DEADLINE, SUBPROTOCOL, Socket, text};

/// Loopback is limited too.
const NOBODY_EXEMPT: (&str, &str) = ("QUNLIU_LIMITS_EXEMPT", "");

/// A server on which everybody is limited, its owner, and a group with one more member.
async fn limited(keys: &[(&str, &str)]) -> (TestServer, Person, Person, String) {
    let all: Vec<_> = [NOBODY_EXEMPT].iter().chain(keys).copied().collect();
    let server = TestServer::start_with(&all).await;
    let owner = server.register("li.lei").await;
    let member = server.register("han.meimei").await;
    let path = owner.found("老街面馆 1 群", &[&member]).await;
    (server, owner, member, path)
}

fn group_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

async fn send(person: &Person, path: &str) -> Answer {
    let body = json!({"client_id": Uuid::new_v4(), "body": {"kind": "text", "text": "在吗"}});
    person.client.post(&format!("{path}/messages"), &body).await
}

/// Sends over the socket until the server refuses; the refusal, and how many it took.
async fn flood(socket: &mut Socket, group: &str) -> (Value, u32) {
    for sent in 0..200 {
        let answer = socket.ask(&text(group, "在吗")).await;
        if answer["type"] == "error" {
            return (answer, sent);
        }
    }
    panic!("200 messages in a row were taken");
}

/// Asks until the server refuses; the refusal. Since `spent` the budget was used up: no more is
/// taken than comes back, one in each second.
async fn refusal<A>(
    spent: Instant,
    mut ask: impl AsyncFnMut() -> A,
    is_refused: impl Fn(&A) -> bool,
) -> A {
    let mut taken = 0;
    loop {
        let answer = ask().await;
        if is_refused(&answer) {
            return answer;
        }
        taken += 1;
        let passed = spent.elapsed().as_secs() + 1;
        assert!(taken <= passed, "{taken} in {passed} s");
    }
}

fn is_limited(answer: &Answer) -> bool {
    answer.status == 429
}

/// A whole refusal by this key of `[limits]`.
fn assert_refused(answer: &Answer, policy: &str) {
    let problem = answer.problem(429, "rate_limited");
    assert!(
        problem["retry_after_ms"]
            .as_u64()
            .is_some_and(|wait| wait > 0)
    );
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(answer.header("ratelimit-policy"), policy);
    let name = policy.split(';').next().unwrap();
    assert_eq!(
        answer.header("ratelimit"),
        format!("{name};r=0;t={seconds}")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_over_rest_and_one_over_a_socket_spend_the_same() {
    let keys = [("QUNLIU_LIMITS_MESSAGES_PER_SECOND", "1")];
    let (server, owner, member, path) = limited(&keys).await;
    let mut socket = Socket::greeted(&server, &owner, "web-1").await;
    let spent = Instant::now();
    let (refused, taken) = flood(&mut socket, group_of(&path)).await;
    assert!(taken >= 3, "{taken}");
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert_eq!(refused["group"], group_of(&path), "{refused}");
    assert!((1..=1001).contains(&refused["retry_after_ms"].as_u64().unwrap()));
    // A budget of its own would take three more.
    let refused = refusal(spent, async || send(&owner, &path).await, is_limited).await;
    assert_refused(&refused, "\"messages_per_second\";q=3;w=3");
    // Who did not ask too much.
    send(&member, &path).await.sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_has_a_budget_that_its_members_share() {
    let keys = [("QUNLIU_LIMITS_MESSAGES_PER_SECOND_GROUP", "1")];
    let (server, owner, member, path) = limited(&keys).await;
    let other = owner.found("老街面馆 2 群", &[]).await;
    let mut socket = Socket::greeted(&server, &owner, "web-1").await;
    let spent = Instant::now();
    flood(&mut socket, group_of(&path)).await;
    let refused = refusal(spent, async || send(&member, &path).await, is_limited).await;
    assert_refused(&refused, "\"messages_per_second_group\";q=3;w=3");
    send(&owner, &other).await.sent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_send_spends_nothing_that_others_share() {
    let keys = [
        ("QUNLIU_LIMITS_MESSAGES_PER_SECOND_GROUP", "1"),
        ("QUNLIU_LIMITS_MESSAGES_PER_SECOND_GLOBAL", "1"),
    ];
    let (server, _owner, member, path) = limited(&keys).await;
    let stranger = server.register("lin.tao").await;
    let mut socket = Socket::greeted(&server, &stranger, "web-1").await;
    for _ in 0..10 {
        send(&stranger, &path).await.problem(404, "not_found");
        let refused = socket.ask(&text(group_of(&path), "有人吗")).await;
        assert_eq!(refused["code"], "not_found", "{refused}");
    }
    assert_eq!(send(&member, &path).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_together_have_a_budget_too() {
    let keys = [("QUNLIU_LIMITS_REGISTRATIONS_PER_HOUR_GLOBAL", "2")];
    let (server, ..) = limited(&keys).await;
    let body = json!({"name": "lin.tao", "password": PASSWORD, "display_name": "林涛"});
    let refused = server.anyone().post("/v1/auth/register", &body).await;
    assert_refused(&refused, "\"registrations_per_hour_global\";q=2;w=3600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_additions_are_limited_by_number() {
    let keys = [
        ("QUNLIU_LIMITS_GROUPS_PER_HOUR", "2"),
        ("QUNLIU_LIMITS_ADDITIONS_PER_HOUR", "200"),
    ];
    let (_server, owner, member, path) = limited(&keys).await;
    // One was added when the group was made.
    let nobody: Vec<_> = (0..199).map(|n| format!("u_{n:032}")).collect();
    let unknown = json!({"users": nobody});
    let members = format!("{path}/members");
    owner
        .client
        .post(&members, &unknown)
        .await
        .problem(404, "not_found");
    let again = json!({"users": [member.id]});
    let refused = owner.client.post(&members, &again).await;
    assert_refused(&refused, "\"additions_per_hour\";q=200;w=3600");
    owner.found("老街面馆 2 群", &[]).await;
    let third = json!({"name": "老街面馆 3 群"});
    let refused = owner.client.post("/v1/groups", &third).await;
    assert_refused(&refused, "\"groups_per_hour\";q=2;w=3600");
}

/// Calls until one is refused.
async fn call(person: &Person, path: &str) -> Answer {
    for _ in 0..200 {
        let answer = person.client.get(path).await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("200 calls in a row were answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_request_has_a_budget_of_its_own() {
    let keys = [
        ("QUNLIU_LIMITS_PAGES_PER_SECOND", "1"),
        ("QUNLIU_LIMITS_REQUESTS_PER_SECOND", "1"),
    ];
    let (server, owner, member, path) = limited(&keys).await;
    let spent = Instant::now();
    let refused = call(&owner, &format!("{path}/messages")).await;
    assert_refused(&refused, "\"pages_per_second\";q=3;w=3");
    let refused = call(&owner, "/v1/me").await;
    assert_refused(&refused, "\"requests_per_second\";q=3;w=3");
    let mut socket = Socket::greeted(&server, &owner, "web-1").await;
    let pull = json!({"type": "pull", "group": group_of(&path), "after": [0, 0]});
    // A pull spends what pages spend.
    let ask = async || socket.ask(&pull).await;
    refusal(spent, ask, |answer| answer["code"] == "rate_limited").await;
    assert_eq!(member.client.get("/v1/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_only_repeats_what_was_refused_is_closed_with_4429() {
    let keys = [("QUNLIU_LIMITS_FOLLOWS_PER_SECOND", "1")];
    let (server, owner, ..) = limited(&keys).await;
    let mut socket = Socket::greeted(&server, &owner, "web-1").await;
    let nothing = json!({"type": "follow", "groups": {}, "level": "full"});
    // Twice as many as are abuse: a minute may begin among them.
    for _ in 0..220 {
        socket.ask_later(&nothing).await;
    }
    assert_eq!(socket.closed().await, 4429);
    let refused = |frame: &Value| frame["code"] == "rate_limited";
    assert!(socket.kept().iter().filter(|frame| refused(frame)).count() >= 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_marks_that_come_too_often_are_all_answered_and_the_highest_holds() {
    let keys = [("QUNLIU_LIMITS_READS_PER_SECOND", "1")];
    let (server, owner, member, path) = limited(&keys).await;
    for _ in 0..3 {
        send(&owner, &path).await.created();
    }
    let mut socket = Socket::greeted(&server, &member, "web-1").await;
    let mut ids = Vec::new();
    for n in 0..60 {
        let seq = if n == 40 { 5 } else { 3 };
        let mark = json!({"type": "read", "group": group_of(&path), "pos": [1, seq]});
        ids.push(socket.ask_later(&mark).await);
    }
    for id in ids {
        let answer = socket.answer(id).await;
        assert_eq!(answer["type"], "done", "{answer}");
    }
    let unread = member.client.get("/v1/unread").await.ok();
    assert_eq!(unread["unread"], 0, "{unread}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_mark_that_waits_when_the_client_goes_is_carried_out() {
    let (server, owner, member, path) = limited(&[]).await;
    for _ in 0..3 {
        send(&owner, &path).await.created();
    }
    let mut socket = Socket::greeted(&server, &member, "web-1").await;
    for seq in [3, 5] {
        let mark = json!({"type": "read", "group": group_of(&path), "pos": [1, seq]});
        socket.say(&mark).await;
    }
    drop(socket);
    eventually(DEADLINE, async || {
        let unread = member.client.get("/v1/unread").await.ok();
        unread["unread"] == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_do_not_say_hello_are_few_from_one_address() {
    let keys = [("QUNLIU_LIMITS_SOCKETS_WAITING_PER_ADDRESS", "2")];
    let (server, owner, ..) = limited(&keys).await;
    let greeted = Socket::greeted(&server, &owner, "web-1").await;
    let open = async || Socket::open(server.address, &[SUBPROTOCOL]).await;
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    assert_eq!(open().await.err(), Some(429));
    drop(first);
    eventually(DEADLINE, async || open().await.is_ok()).await;
    drop((greeted, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_one_address_are_bounded() {
    let keys = [("QUNLIU_LIMITS_SOCKETS_PER_ADDRESS", "1")];
    let (server, owner, member, _) = limited(&keys).await;
    let first = Socket::greeted(&server, &owner, "web-1").await;
    let open = async || Socket::open(server.address, &[SUBPROTOCOL]).await;
    assert_eq!(open().await.err(), Some(429));
    drop(first);
    eventually(DEADLINE, async || open().await.is_ok()).await;
    assert_eq!(member.client.get("/v1/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_address_is_refused_before_the_token_and_probes_are_answered() {
    let keys = [
        NOBODY_EXEMPT,
        ("QUNLIU_LIMITS_REQUESTS_PER_SECOND_ADDRESS", "1"),
    ];
    let server = TestServer::start_with(&keys).await;
    let stranger = server.anyone();
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(stranger.get("/v1/me").await);
        stranger.get("/healthz").await.ok();
    }
    answers.retain(|answer| answer.status != 401);
    let refused = answers.first().expect("20 in a row are more than 3");
    assert_refused(refused, "\"requests_per_second_address\";q=3;w=3");
    let told = server.operator().get("/metrics").await.text;
    let counted = "qunliu_limit_refusals_total{limit=\"requests_per_second_address\"} ";
    let line = told.lines().find_map(|line| line.strip_prefix(counted));
    assert_eq!(line, Some(answers.len().to_string().as_str()));
    let zero = "qunliu_limit_refusals_total{limit=\"messages_per_second\"} 0";
    assert!(told.contains(zero));
    let mut lost = Vec::new();
    for _ in 0..20 {
        lost.push(stranger.get("/nowhere").await.status);
    }
    assert!(lost.contains(&429), "a path that is none counts too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_browsers_to_run_and_frame_nothing() {
    let server = TestServer::start().await;
    for path in ["/v1/me", "/nowhere", "/healthz", "/"] {
        let answer = server.anyone().get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
}
