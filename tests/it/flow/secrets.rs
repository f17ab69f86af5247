//! What people say, what they are called, and what proves who they are stands in no log and among no
//! metrics, however much is logged and whatever goes wrong; and nothing they type forges a line.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::node::{House, Node};
use crate::support::process::wait_for;
use crate::support::server::{Client, Person};
use crate::support::services::{Service, Services};
use crate::support::socket::{SUBPROTOCOL, Socket, text};

/// What must be found nowhere. A part of each is enough to be looked for.
const BODY: &str = "kanariya-wort\r\n2026-01-01T00:00:00Z ERROR forged \u{1b}[31mrot\u{9b}2J";
const CANARIES: &[&str] = &[
    "kanariya-wort",
    "kanariya-password",
    "kanariya-falsch",
    "kanariya.konto",
    "kanariya-anzeige",
    "kanariya-gruppe",
    "kanariya-frame",
    "kanariya-pfad",
    "kanariya-token",
];

/// Everything is logged that can be.
fn logging(format: &str) -> Vec<(String, String)> {
    let keys = [
        ("QUNLIU_LOG_LEVEL", "debug,qunliu=trace"),
        ("QUNLIU_LOG_FORMAT", format),
        ("QUNLIU_MONGODB_CALL_MS_MAX", "3000"),
        ("QUNLIU_MONGODB_SELECTION_MS_MAX", "3000"),
    ];
    keys.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

async fn register(node: &Node, name: &str) -> Person {
    let body = json!({
        "name": name, "password": "kanariya-password", "display_name": "kanariya-anzeige",
    });
    let anyone = Client::of(node.address());
    let granted = anyone.post("/v1/auth/register", &body).await.created();
    Person::of(node.address(), &granted)
}

/// Does all that people do with a node, well and badly; answers the secrets that it gave out, and
/// the socket and the group that are used.
async fn use_it(node: &Node) -> (Vec<String>, Socket, String) {
    let owner = register(node, "kanariya.konto").await;
    let member = register(node, "kanariya.konto2").await;
    let path = owner.found("kanariya-gruppe", &[&member]).await;
    let group = path.rsplit('/').next().unwrap().to_owned();
    let ticket = owner
        .client
        .post("/v1/auth/ticket", &json!({}))
        .await
        .created();
    let mut secrets = vec![ticket["ticket"].as_str().unwrap().to_owned()];
    for person in [&owner, &member] {
        secrets.push(person.access_token.clone());
        secrets.push(person.refresh_token.clone());
    }
    let mut socket = Socket::hello_at(node.address(), &member, "web-1", &json!({})).await;
    socket.wait("welcome").await;
    let sent = socket.ask(&text(&group, BODY)).await;
    assert_eq!(sent["type"], "accepted", "{sent}");
    socket.wait("stored").await;
    go_wrong(node, &owner, &group, &mut socket).await;
    (secrets, socket, group)
}

async fn go_wrong(node: &Node, owner: &Person, group: &str, socket: &mut Socket) {
    let anyone = Client::of(node.address());
    let wrong = json!({"name": "kanariya.konto", "password": "kanariya-falsch"});
    let refused = anyone.post("/v1/auth/login", &wrong).await;
    refused.problem(401, "unauthenticated");
    let again = json!({
        "name": "kanariya.konto", "password": "kanariya-password", "display_name": "x",
    });
    let taken = anyone.post("/v1/auth/register", &again).await;
    taken.problem(409, "conflict");
    anyone.with_token("kanariya-token").get("/v1/me").await;
    anyone
        .get("/kanariya-pfad?kanariya-token=kanariya-token")
        .await;
    let path = format!("/v1/groups/{group}/messages");
    owner
        .client
        .json(Method::POST, &path, "{\"kanariya-frame\":")
        .await;
    owner
        .client
        .json(Method::POST, &path, "{\"kanariya-frame\":1}")
        .await;
    socket.say_text("{\"type\":\"kanariya-frame\"}").await;
    assert_eq!(socket.wait("error").await["code"], "bad_request");
    let mut stranger = Socket::open(node.address(), &[SUBPROTOCOL]).await.unwrap();
    let bad = json!({"type": "hello", "token": "kanariya-token", "device": "kanariya-token"});
    stranger.say(&bad).await;
    assert_eq!(stranger.closed().await, 4401);
}

/// The whole lines of the log: the node may be writing another one.
fn log_of(house: &House) -> String {
    let read = |kind| {
        let mut text = std::fs::read_to_string(house.file(&format!("only.{kind}"))).unwrap();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    };
    read("log") + &read("out")
}

/// Nothing of it is in the log nor among the metrics, which say enough to be worth looking at.
async fn judge(log: &str, node: &Node, secrets: &[String]) {
    let told = format!("{log}{}", node.metrics().await);
    for said in ["appended", "trace", "qunliu_http_requests_total"] {
        assert!(told.contains(said), "{said} is not said");
    }
    let canaries = CANARIES.iter().copied();
    for secret in canaries.chain(secrets.iter().map(String::as_str)) {
        let found = told.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} was told");
    }
    let commands = told
        .chars()
        .find(|c| c.is_control() && *c != '\n' && *c != '\t');
    assert_eq!(commands, None);
    assert!(!told.lines().any(|line| line.contains("forged")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_logged_on_embedded_stores() {
    let house = House::new(logging("json"));
    let node = house.start("only").await;
    let (secrets, _socket, _) = use_it(&node).await;
    let log = log_of(&house);
    judge(&log, &node, &secrets).await;
    let lines = log.lines().filter(|line| !line.starts_with("listening"));
    for line in lines {
        let line: Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_logged_on_the_services_while_one_of_them_hangs() {
    let Some(services) = Services::start() else {
        return;
    };
    let mut environment = services.environment();
    environment.extend(logging("text"));
    let house = House::new(environment);
    let node = house.start("only").await;
    let (secrets, mut socket, group) = use_it(&node).await;
    services.pause(Service::MongoDb);
    socket
        .say(&{
            let mut frame = text(&group, BODY);
            frame["id"] = json!(1_000);
            frame
        })
        .await;
    wait_for("a batch fails", async || {
        log_of(&house)
            .contains("a batch will be taken again")
            .then_some(())
    })
    .await;
    services.resume(Service::MongoDb);
    socket.wait("stored").await;
    let log = log_of(&house);
    assert!(log.contains("inserted"), "the write is not named");
    judge(&log, &node, &secrets).await;
}
