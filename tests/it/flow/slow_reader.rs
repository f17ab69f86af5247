//! A client that does not read, or not fast enough: what it costs, and what it is told.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::socket::{DEADLINE, Socket, assert_dense, hello, seq, seqs, text};

flow!(
    both: [who_reads_again_is_told_exactly_what_to_pull],
    embedded: [who_never_reads_is_closed_with_4408_and_holds_up_nobody],
    services: [],
);

/// The smallest queue that may be configured.
const QUEUE_BYTES: (&str, &str) = ("QUNLIU_EGRESS_QUEUE_BYTES_MAX", "1048576");

/// Messages of 80 KB: more than the queue and the buffers of both kernels hold.
const MESSAGES: usize = 150;

/// A member's socket that takes little and is not read, behind its welcome.
async fn deaf(scene: &Scene) -> Socket {
    let open = async || Socket::open_narrow(scene.server.address).await;
    let mut socket = Socket::hello_over(open, &hello(&scene.member, "deaf", &json!({}))).await;
    socket.wait("welcome").await;
    socket
}

/// The owner writes, and reads what comes of it.
async fn write(scene: &Scene, owner: &mut Socket, messages: usize) {
    let long = "😀".repeat(20_000);
    for _ in 0..messages {
        let sent = owner.ask(&text(&scene.group, &long)).await;
        assert_eq!(sent["type"], "accepted", "{sent}");
        owner.events(&scene.group, 1).await;
    }
}

async fn metric(scene: &Scene, name: &str) -> f64 {
    let text = scene.server.operator().get("/metrics").await.text;
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

async fn who_reads_again_is_told_exactly_what_to_pull(place: Place) {
    let keys = [
        QUEUE_BYTES,
        ("QUNLIU_EGRESS_HEARTBEAT_S", "60"),
        ("QUNLIU_EGRESS_SLOW_READER_S", "600"),
    ];
    let scene = Scene::with(&place, &keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut deaf = deaf(&scene).await;
    write(&scene, &mut owner, MESSAGES).await;
    assert!(metric(&scene, "qunliu_socket_overflows_total").await >= 1.0);
    eventually(DEADLINE, async || {
        let lagging = metric(&scene, "qunliu_sockets_greeted{state=\"lagging\"}").await;
        let queued = metric(&scene, "qunliu_send_queue_longest_bytes").await;
        lagging == 1.0 && queued > 0.0
    })
    .await;
    let frames = deaf.until("resync").await;
    let pushed: Vec<Value> = frames
        .iter()
        .filter(|frame| frame["type"] == "events")
        .flat_map(|frame| frame["events"].as_array().unwrap().clone())
        .collect();
    assert_dense(&seqs(&pushed), 3);
    let resync = frames.last().unwrap();
    let (from, head) = (seq(&resync["from"]), seq(&resync["head"]));
    assert_eq!(
        from,
        2 + pushed.len() as u64,
        "what is missing begins behind what came"
    );
    assert_eq!(head, 2 + MESSAGES as u64);
    // The bound kept the better part of it from being queued.
    assert!(
        pushed.len() < MESSAGES * 3 / 4,
        "{} of {MESSAGES} were kept",
        pushed.len()
    );
    write(&scene, &mut owner, 1).await;
    assert_eq!(seqs(&deaf.events(&scene.group, 1).await), [head + 1]);
    let mut at = from;
    while at < head {
        let pull = json!({"type": "pull", "group": scene.group, "after": [1, at], "limit": 10});
        let page = deaf.ask(&pull).await;
        let events = page["events"].as_array().unwrap();
        assert_dense(&seqs(events), at + 1);
        at += events.len() as u64;
    }
}

async fn who_never_reads_is_closed_with_4408_and_holds_up_nobody(place: Place) {
    let keys = [QUEUE_BYTES, ("QUNLIU_EGRESS_SLOW_READER_S", "1")];
    let scene = Scene::with(&place, &keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut tab = scene.socket(&scene.member, "web-1").await;
    let mut deaf = deaf(&scene).await;
    let (pushed, ()) = tokio::join!(
        tab.events(&scene.group, MESSAGES),
        write(&scene, &mut owner, MESSAGES),
    );
    assert_dense(&seqs(&pushed), 3);
    let closed = r#"qunliu_sockets_closed_total{code="4408"}"#;
    eventually(DEADLINE, async || metric(&scene, closed).await >= 1.0).await;
    eventually(DEADLINE, async || {
        metric(&scene, "qunliu_sockets_open").await == 2.0
    })
    .await;
    // What the kernels hold can still be read; what was queued was thrown away.
    deaf.closed().await;
    let kept: usize = deaf
        .kept()
        .iter()
        .map(|frame| frame["events"].as_array().map_or(0, Vec::len))
        .sum();
    assert!(kept < MESSAGES * 3 / 4, "{kept} of {MESSAGES} were kept");
}
