//! Opening a socket, saying `hello`, and how a socket ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::server::{Person, TestServer};
use crate::support::socket::{SUBPROTOCOL, Socket, hello, text};

/// The longest frame that a client may send.
const FRAME_BYTES_MAX: usize = 160 * 1024;

flow!(
    both: [
        a_first_frame_that_is_no_good_hello_is_told_and_closed_with_4400,
        what_is_no_access_token_closes_with_4401,
        a_second_hello_is_refused_and_the_socket_lives_on,
        the_same_device_again_closes_its_old_socket_with_4409,
        one_socket_too_many_closes_the_oldest_with_4409,
        an_authorisation_that_ran_out_closes_with_4401_unless_renewed,
    ],
    embedded: [
        an_opening_without_the_subprotocol_is_refused,
        a_foreign_origin_is_refused,
        silence_instead_of_hello_closes_with_4401_after_five_seconds,
        a_binary_frame_is_told_and_closed_with_1003,
        a_frame_is_taken_up_to_160_kib_and_beyond_closed_with_1009,
        a_hundred_invalid_frames_in_a_minute_close_with_4400,
        a_ping_is_answered_and_a_close_is_returned,
    ],
    services: [],
);

async fn alone(place: &Place) -> (TestServer, Person) {
    let server = place.serve(&[]).await;
    let person = server.register("li.lei").await;
    (server, person)
}

async fn open(server: &TestServer) -> Socket {
    Socket::open(server.address, &[SUBPROTOCOL]).await.unwrap()
}

/// An empty `follow`, the cheapest frame that is answered.
fn nothing() -> Value {
    json!({"type": "follow", "groups": {}, "level": "full"})
}

async fn an_opening_without_the_subprotocol_is_refused(place: Place) {
    let server = place.serve(&[]).await;
    let other = ("sec-websocket-protocol", "qunliu.v2.json");
    let list = ("sec-websocket-protocol", "chat, qunliu.v1.json");
    assert_eq!(Socket::open(server.address, &[]).await.err(), Some(400));
    assert_eq!(
        Socket::open(server.address, &[other]).await.err(),
        Some(400)
    );
    assert!(Socket::open(server.address, &[list]).await.is_ok());
}

async fn a_foreign_origin_is_refused(place: Place) {
    let server = place.serve(&[]).await;
    let own = format!("http://{}", server.address);
    let refused = async |origin: &str| {
        let headers = [SUBPROTOCOL, ("origin", origin)];
        Socket::open(server.address, &headers).await.err()
    };
    assert_eq!(refused(&own).await, None);
    for foreign in [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
    ] {
        assert_eq!(refused(foreign).await, Some(403), "{foreign}");
    }
    let listed = place
        .serve(&[("QUNLIU_HTTP_ORIGINS", "https://shop.example")])
        .await;
    let headers = [SUBPROTOCOL, ("origin", "https://shop.example")];
    assert!(Socket::open(listed.address, &headers).await.is_ok());
}

async fn a_first_frame_that_is_no_good_hello_is_told_and_closed_with_4400(place: Place) {
    let (server, person) = alone(&place).await;
    let good = hello(&person, "web-1", &json!({}));
    let with = |field: &str, value: Value| {
        let mut frame = good.clone();
        frame[field] = value;
        frame.to_string()
    };
    let cases = [
        ("".to_owned(), ""),
        ("[]".to_owned(), ""),
        (r#"{"type":"hello"}"#.to_owned(), ""),
        (with("type", json!("helo")), "type"),
        (with("device", json!("")), "device"),
        (with("device", json!("a".repeat(65))), "device"),
        (with("devise", json!("web-1")), "devise"),
        (with("cursors", json!({"g_1": [1, 1]})), "cursors"),
        (
            text("g_0190c2f47a5b7c3e8f1d2a4b6c8e0f12", "在吗").to_string(),
            "",
        ),
        (nothing().to_string(), ""),
    ];
    for (frame, field) in cases {
        let mut socket = open(&server).await;
        socket.say_text(&frame).await;
        let error = socket.wait("error").await;
        assert_eq!(error["code"], "bad_request", "{frame}: {error}");
        let named = error["errors"][0]["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{frame}: {error}");
        assert_eq!(socket.closed().await, 4400, "{frame}");
    }
}

async fn what_is_no_access_token_closes_with_4401(place: Place) {
    let (server, person) = alone(&place).await;
    let refused = async |token: &str| {
        let mut socket = open(&server).await;
        let mut frame = hello(&person, "web-1", &json!({}));
        frame["token"] = json!(token);
        socket.say(&frame).await;
        let error = socket.wait("error").await;
        assert_eq!(socket.closed().await, 4401, "{error}");
        error["code"].as_str().unwrap().to_owned()
    };
    let (token, refresh) = (&person.access_token, &person.refresh_token);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    for wrong in ["", "x", refresh, head, &format!("{head}.{turned}")] {
        assert_eq!(refused(wrong).await, "unauthenticated", "{wrong}");
    }
    let ended = server.register("lucy").await;
    let logout = ended.client.post("/v1/auth/logout", &json!({})).await;
    logout.no_content();
    assert_eq!(refused(&ended.access_token).await, "unauthenticated");
    server.clock.advance(901_000);
    assert_eq!(refused(token).await, "token_expired");
    let closed = server
        .metric("qunliu_sockets_closed_total{code=\"4401\"}")
        .await;
    assert_eq!(closed, 7, "every one is counted");
}

async fn silence_instead_of_hello_closes_with_4401_after_five_seconds(place: Place) {
    let server = place.serve(&[]).await;
    let begun = Instant::now();
    let mut silent = open(&server).await;
    let mut slow = open(&server).await;
    // A part of a frame is silence too.
    slow.say_message(Message::Ping("x".into())).await;
    for socket in [&mut silent, &mut slow] {
        assert_eq!(socket.wait("error").await["code"], "unauthenticated");
        assert_eq!(socket.closed().await, 4401);
    }
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(4_500), "{waited:?}");
}

async fn a_second_hello_is_refused_and_the_socket_lives_on(place: Place) {
    let (server, person) = alone(&place).await;
    let mut socket = Socket::greeted(&server, &person, "web-1").await;
    socket.say(&hello(&person, "web-1", &json!({}))).await;
    let error = socket.wait("error").await;
    assert_eq!(error["code"], "bad_request", "{error}");
    assert_eq!(error["errors"][0]["field"], "type", "{error}");
    socket.settle().await;
}

async fn a_binary_frame_is_told_and_closed_with_1003(place: Place) {
    let (server, person) = alone(&place).await;
    let mut socket = Socket::greeted(&server, &person, "web-1").await;
    socket.say_message(Message::binary(&b"{}"[..])).await;
    assert_eq!(socket.wait("error").await["code"], "unsupported");
    assert_eq!(socket.closed().await, 1003);
}

async fn a_frame_is_taken_up_to_160_kib_and_beyond_closed_with_1009(place: Place) {
    let (server, person) = alone(&place).await;
    let mut socket = Socket::greeted(&server, &person, "web-1").await;
    let mut frame = nothing();
    frame["id"] = json!(1);
    let padded = |bytes: usize| {
        let text = frame.to_string();
        let spaces = " ".repeat(bytes - text.len());
        text + &spaces
    };
    socket.say_text(&padded(FRAME_BYTES_MAX)).await;
    assert_eq!(socket.answer(1).await["type"], "done");
    socket.say_text(&padded(FRAME_BYTES_MAX + 1)).await;
    assert_eq!(socket.wait("error").await["code"], "too_large");
    assert_eq!(socket.closed().await, 1009);
}

async fn the_same_device_again_closes_its_old_socket_with_4409(place: Place) {
    let scene = Scene::on(&place).await;
    let mut old = scene.socket(&scene.member, "web-1").await;
    let mut tab = scene.socket(&scene.member, "web-2").await;
    let mut other = scene.socket(&scene.owner, "web-1").await;
    let mut new = scene.socket(&scene.member, "web-1").await;
    assert_eq!(old.closed().await, 4409);
    let sent = new.ask(&text(&scene.group, "在吗")).await;
    assert_eq!(sent["type"], "accepted", "{sent}");
    for socket in [&mut new, &mut tab, &mut other] {
        socket.events(&scene.group, 1).await;
    }
}

async fn one_socket_too_many_closes_the_oldest_with_4409(place: Place) {
    let (server, person) = alone(&place).await;
    let mut sockets = Vec::new();
    for device in 1..=5 {
        sockets.push(Socket::greeted(&server, &person, &format!("web-{device}")).await);
    }
    for socket in &mut sockets {
        socket.settle().await;
    }
    let mut sixth = Socket::greeted(&server, &person, "web-6").await;
    assert_eq!(sockets.remove(0).closed().await, 4409);
    for socket in sockets.iter_mut().chain([&mut sixth]) {
        socket.settle().await;
    }
}

async fn a_hundred_invalid_frames_in_a_minute_close_with_4400(place: Place) {
    let (server, person) = alone(&place).await;
    let mut socket = Socket::greeted(&server, &person, "web-1").await;
    for _ in 0..99 {
        socket.say_text("{}").await;
        assert_eq!(socket.wait("error").await["code"], "bad_request");
    }
    socket.settle().await;
    socket.say_text("{}").await;
    assert_eq!(socket.wait("error").await["code"], "bad_request");
    assert_eq!(socket.closed().await, 4400);
}

async fn a_ping_is_answered_and_a_close_is_returned(place: Place) {
    let (server, person) = alone(&place).await;
    let mut socket = Socket::greeted(&server, &person, "web-1").await;
    socket.say_message(Message::Ping("在吗".into())).await;
    let pong = loop {
        match socket.read_message().await {
            Some(Message::Pong(payload)) => break payload,
            Some(_) => {}
            None => panic!("closed instead of a pong"),
        }
    };
    assert_eq!(pong, "在吗");
    socket.say_message(Message::Close(None)).await;
    assert_eq!(socket.closed().await, 1005);
}

async fn an_authorisation_that_ran_out_closes_with_4401_unless_renewed(place: Place) {
    let server = place.serve(&[]).await;
    let (renewing, idle) = (
        server.register("li.lei").await,
        server.register("lucy").await,
    );
    let mut renewed = Socket::greeted(&server, &renewing, "web-1").await;
    let mut expired = Socket::greeted(&server, &idle, "web-1").await;
    server.clock.advance(800_000);
    let body = json!({"refresh_token": renewing.refresh_token});
    let fresh = server.anyone().post("/v1/auth/refresh", &body).await.ok();
    let token = json!({"type": "token", "token": fresh["access_token"]});
    let foreign = expired.ask(&token).await;
    assert_eq!(foreign["code"], "unauthenticated", "another user's token");
    let done = renewed.ask(&token).await;
    assert_eq!(done["type"], "done", "{done}");
    // Expired, but within the minute of grace.
    server.clock.advance(150_000);
    expired.settle().await;
    server.clock.advance(60_000);
    assert_eq!(expired.wait("error").await["code"], "token_expired");
    assert_eq!(expired.closed().await, 4401);
    renewed.settle().await;
}
