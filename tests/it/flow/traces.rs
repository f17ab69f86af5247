//! One id from the request to the write of the message, in answers, logs and spans.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::collector::{Collector, Span};
use crate::support::eventually;
use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::server::{Answer, Person};
use crate::support::socket::{DEADLINE, text};

flow!(
    both: [
        every_answer_names_its_request,
        what_is_decided_and_the_event_that_says_so_are_one_trace,
    ],
    embedded: [
        what_is_not_sampled_is_not_exported,
        a_collector_that_is_away_holds_nothing_up,
        what_fails_says_so_in_its_span,
    ],
    services: [
        a_request_is_one_trace_up_to_the_message_store_on_whatever_node,
        a_frame_is_one_trace_up_to_the_message_store,
    ],
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const ROUTE: &str = "POST /v1/groups/{group}/messages";

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CONSUMER: i32 = 5;

async fn send(scene: &Scene, person: &Person, words: &str, traceparent: &str) -> Answer {
    let body = json!({
        "client_id": uuid::Uuid::new_v4(), "body": {"kind": "text", "text": words},
    });
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", traceparent),
    ];
    let path = format!("{}/messages", scene.path());
    let body = Some(body.to_string().into_bytes());
    person
        .client
        .send(Method::POST, &path, &headers, body)
        .await
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

/// The spans of a trace by which a send is followed: what was asked, the append, the write.
async fn followed(collector: &Collector, trace: &str, asked: &str) -> [Span; 3] {
    let named = async |name: &str| {
        collector
            .span(|span| span.trace == trace && span.name == name)
            .await
    };
    let spans = [
        named(asked).await,
        named("append").await,
        named("persist").await,
    ];
    let kinds = spans.each_ref().map(|span| span.kind);
    assert_eq!(kinds, [SERVER, INTERNAL, CONSUMER]);
    let [asked, append, persist] = &spans;
    assert_eq!((&append.parent, &persist.parent), (&asked.id, &append.id));
    assert!(asked.took_ns >= append.took_ns, "{spans:?}");
    spans
}

async fn a_request_is_one_trace_up_to_the_message_store_on_whatever_node(place: Place) {
    let collector = Collector::start().await;
    let keys = [("QUNLIU_TRACING_OTLP_ENDPOINT", &*collector.url)];
    let scene = Scene::with(&place, &keys).await;
    // Whichever of them has the lease of the group writes the message.
    let other = place.serve(&keys).await;
    let sent = send(&scene, &scene.member, "金丝雀", &traceparent("01")).await;
    sent.sent();
    assert_eq!(sent.header("x-request-id"), TRACE);
    let [asked, append, persist] = followed(&collector, TRACE, ROUTE).await;
    assert_eq!(asked.parent, SPAN, "the caller's");
    assert!(append.text.contains(&scene.group), "{}", append.text);
    for span in [asked, append, persist] {
        for secret in ["金丝雀", &scene.member.access_token, "han.meimei"] {
            assert!(!span.text.contains(secret), "{}", span.text);
        }
    }
    // A write that changes hands is made twice.
    let spans = collector.of(TRACE);
    let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, [ROUTE, "append", "persist"].into());
    drop(other);
}

async fn a_frame_is_one_trace_up_to_the_message_store(place: Place) {
    let collector = Collector::start().await;
    let keys = [("QUNLIU_TRACING_OTLP_ENDPOINT", &*collector.url)];
    let scene = Scene::with(&place, &keys).await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    let mut traces = Vec::new();
    for _ in 0..2 {
        socket.ask(&text(&scene.group, "在吗")).await;
        let is_new = |span: &Span| span.name == "frame send" && !traces.contains(&span.trace);
        let asked = collector.span(is_new).await;
        followed(&collector, &asked.trace, "frame send").await;
        traces.push(asked.trace);
    }
}

async fn what_is_decided_and_the_event_that_says_so_are_one_trace(place: Place) {
    let collector = Collector::start().await;
    let keys = [("QUNLIU_TRACING_OTLP_ENDPOINT", &*collector.url)];
    let scene = Scene::with(&place, &keys).await;
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", &traceparent("01")),
    ];
    let name = Some(json!({ "name": "老街面馆 2 群" }).to_string().into_bytes());
    let (client, path) = (&scene.owner.client, scene.path());
    let renamed = client.send(Method::PATCH, &path, &headers, name).await;
    renamed.ok();
    let named = async |name: &str| {
        collector
            .span(|span| span.trace == TRACE && span.name == name)
            .await
    };
    let asked = named("PATCH /v1/groups/{group}").await;
    let (row, append) = (named("outbox row").await, named("append").await);
    assert_eq!((row.kind, append.kind), (INTERNAL, INTERNAL));
    assert_eq!((&row.parent, &append.parent), (&asked.id, &row.id));
}

async fn what_is_not_sampled_is_not_exported(place: Place) {
    let collector = Collector::start().await;
    let keys = [
        ("QUNLIU_TRACING_OTLP_ENDPOINT", &*collector.url),
        ("QUNLIU_TRACING_SAMPLE_PERCENT", "0"),
    ];
    let scene = Scene::with(&place, &keys).await;
    let unmarked = send(&scene, &scene.member, "1", &traceparent("00")).await;
    assert_eq!(
        unmarked.header("x-request-id"),
        TRACE,
        "it is named all the same"
    );
    let marked = traceparent("01").replace(TRACE, &"ab".repeat(16));
    send(&scene, &scene.member, "2", &marked).await.sent();
    collector.span(|span| span.name == ROUTE).await;
    // Spans go out in the order in which they ended.
    assert!(
        collector
            .all()
            .iter()
            .all(|span| span.trace == "ab".repeat(16))
    );
}

async fn a_collector_that_is_away_holds_nothing_up(place: Place) {
    // Nobody listens there any more.
    let gone = Collector::start().await.url;
    let gone = gone.replace("127.0.0.1", "127.0.0.2");
    let scene = Scene::with(&place, &[("QUNLIU_TRACING_OTLP_ENDPOINT", &gone)]).await;
    send(&scene, &scene.member, "在吗", &traceparent("01"))
        .await
        .sent();
    let dropped = r#"qunliu_spans_total{result="dropped"} "#;
    eventually(DEADLINE, async || {
        let metrics = scene.server.operator().get("/metrics").await.text;
        let count = metrics.lines().find_map(|line| line.strip_prefix(dropped));
        count.is_some_and(|count| count != "0")
    })
    .await;
    send(&scene, &scene.member, "在吗", &traceparent("01"))
        .await
        .sent();
}

async fn what_fails_says_so_in_its_span(place: Place) {
    let collector = Collector::start().await;
    let keys = [("QUNLIU_TRACING_OTLP_ENDPOINT", &*collector.url)];
    let scene = Scene::with(&place, &keys).await;
    let stranger = scene.server.register("wang.wu").await;
    let mut socket = scene.socket(&stranger, "web-1").await;
    let refused = socket.ask(&text(&scene.group, "在吗")).await;
    assert_eq!(refused["code"], "not_found");
    let span = collector.span(|span| span.name == "frame send").await;
    assert!(span.text.contains("not_found"), "{}", span.text);
    let answer = send(&scene, &stranger, "在吗", &traceparent("01")).await;
    answer.problem(404, "not_found");
    let span = collector.span(|span| span.name == ROUTE).await;
    assert!(span.text.contains("404"), "{}", span.text);
    assert!(collector.all().iter().all(|span| span.name != "persist"));
}

async fn every_answer_names_its_request(place: Place) {
    let scene = Scene::on(&place).await;
    let client = &scene.member.client;
    let anyone = scene.server.anyone();
    let answers = [
        client.get("/v1/me").await,
        client.get("/v1/groups/g_1").await,
        anyone.get("/v1/me").await,
        anyone.get("/nowhere").await,
        anyone.delete("/v1/me").await,
        send(&scene, &scene.member, "在吗", "00-nonsense").await,
        client.json(Method::POST, "/v1/groups", "{").await,
    ];
    let mut ids: Vec<&str> = answers
        .iter()
        .map(|answer| answer.header("x-request-id"))
        .collect();
    for id in &ids {
        let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hex && id.len() == 32, "{id}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), answers.len());
    // The problem itself names an id only where a line of the log says more.
    assert_eq!(answers[1].body().get("id"), None::<&Value>);
}
