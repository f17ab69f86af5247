//! Sending over a socket: receipts, order, repetition, and what is refused.

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::socket::{Socket, assert_dense, seq, seqs, text};

flow!(
    what_is_sent_is_accepted_stored_and_pushed_to_everyone_in_order,
    two_senders_at_once_are_seen_in_one_order_by_all,
    the_same_client_id_is_the_same_message_and_other_words_a_conflict,
    a_client_id_belongs_to_its_sender_and_group,
    a_resend_names_the_head_known_at_the_first_try,
    what_is_refused_is_named_and_the_socket_lives_on,
    a_text_of_20000_characters_passes_and_one_more_does_not,
    an_admin_may_mention_all,
);

async fn accepted(socket: &mut Socket, frame: &Value) -> Value {
    let answer = socket.ask(frame).await;
    assert_eq!(answer["type"], "accepted", "{answer}");
    answer
}

async fn what_is_sent_is_accepted_stored_and_pushed_to_everyone_in_order(place: Place) {
    let scene = Scene::on(&place).await;
    let mut sender = scene.socket(&scene.owner, "web-1").await;
    let mut tab = scene.socket(&scene.owner, "web-2").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(
            sender
                .ask_later(&text(&scene.group, &format!("{number}")))
                .await,
        );
    }
    let mut placed = Vec::new();
    for id in ids {
        let accepted = sender.answer(id).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        placed.push((accepted["pos"].clone(), accepted["message"].clone()));
    }
    let last = &placed[39].0;
    sender
        .take(|frame| frame["type"] == "stored" && frame["pos"] == *last)
        .await;
    let pushed = sender.events(&scene.group, 40).await;
    assert_dense(&seqs(&pushed), 3);
    for (number, (event, (pos, message))) in pushed.iter().zip(&placed).enumerate() {
        assert_eq!((&event["pos"], &event["id"]), (pos, message));
        assert_eq!(event["body"]["text"], format!("{number}"));
        assert_eq!(
            (&event["kind"], &event["sender"]),
            (&json!("message"), &json!(scene.owner.id))
        );
        let counts = (&event["count"], &event["sender_count"]);
        assert_eq!(counts, (&json!(number + 1), &json!(number + 1)));
    }
    assert_eq!(tab.events(&scene.group, 40).await, pushed);
    assert_eq!(member.events(&scene.group, 40).await, pushed);
}

async fn two_senders_at_once_are_seen_in_one_order_by_all(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let burst = async |socket: &mut Socket, name: &str| {
        for number in 0..25 {
            socket
                .ask_later(&text(&scene.group, &format!("{name} {number}")))
                .await;
        }
        socket.events(&scene.group, 50).await
    };
    let (seen, also) = tokio::join!(burst(&mut owner, "o"), burst(&mut member, "m"));
    assert_eq!(seen, also);
    assert_dense(&seqs(&seen), 3);
    for sender in [&scene.owner, &scene.member] {
        let own: Vec<_> = seen
            .iter()
            .filter(|event| event["sender"] == sender.id)
            .collect();
        let counts: Vec<_> = own
            .iter()
            .map(|event| event["sender_count"].as_u64())
            .collect();
        let expected: Vec<_> = (1..=25).map(Some).collect();
        assert_eq!(counts, expected);
        for (number, event) in own.iter().enumerate() {
            let words = event["body"]["text"].as_str().unwrap();
            assert!(
                words.ends_with(&format!(" {number}")),
                "{words} is out of order"
            );
        }
    }
}

async fn the_same_client_id_is_the_same_message_and_other_words_a_conflict(place: Place) {
    let scene = Scene::on(&place).await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    let frame = text(&scene.group, "在吗");
    let first = accepted(&mut socket, &frame).await;
    scene.server.clock.advance(1_000);
    let mut spelled = frame.clone();
    spelled["mentions"] = json!([]);
    let mut again = frame.clone();
    again["again"] = json!([1, 2]);
    for repeat in [&frame, &spelled, &again] {
        let repeat = accepted(&mut socket, repeat).await;
        for field in ["pos", "message", "at"] {
            assert_eq!(repeat[field], first[field], "{field}");
        }
    }
    let mut other = frame.clone();
    other["body"]["text"] = json!("在么");
    let conflict = socket.ask(&other).await;
    assert_eq!(conflict["code"], "conflict", "{conflict}");
    let mut second = scene.socket(&scene.member, "web-2").await;
    let elsewhere = accepted(&mut second, &again).await;
    assert_eq!(elsewhere["pos"], first["pos"]);
    let next = accepted(&mut socket, &text(&scene.group, "好")).await;
    assert_eq!(seq(&next["pos"]), seq(&first["pos"]) + 1);
    assert_eq!(seqs(&socket.events(&scene.group, 2).await), [3, 4]);
}

async fn a_client_id_belongs_to_its_sender_and_group(place: Place) {
    let scene = Scene::on(&place).await;
    let other = scene.owner.found("二群", &[&scene.member]).await;
    let other = other.rsplit('/').next().unwrap();
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let frame = text(&scene.group, "在吗");
    let mut elsewhere = frame.clone();
    elsewhere["group"] = json!(other);
    let one = accepted(&mut owner, &frame).await;
    let two = accepted(&mut member, &frame).await;
    let three = accepted(&mut owner, &elsewhere).await;
    assert_eq!(
        (seq(&one["pos"]), seq(&two["pos"]), seq(&three["pos"])),
        (3, 4, 3)
    );
    assert_ne!(one["message"], two["message"]);
}

async fn a_resend_names_the_head_known_at_the_first_try(place: Place) {
    let scene = Scene::on(&place).await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    // Never seen before, whatever head it names, one above everything included.
    for again in [[1, 2], [0, 0], [1, 900], [9, 1]] {
        let mut frame = text(&scene.group, "在吗");
        frame["again"] = json!(again);
        let first = accepted(&mut socket, &frame).await;
        let second = accepted(&mut socket, &frame).await;
        assert_eq!(first["pos"], second["pos"], "{again:?}");
    }
    assert_eq!(seqs(&socket.events(&scene.group, 4).await), [3, 4, 5, 6]);
}

async fn what_is_refused_is_named_and_the_socket_lives_on(place: Place) {
    let scene = Scene::on(&place).await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    let unknown = format!("g_{}", "0".repeat(32));
    let many: Vec<_> = std::iter::repeat_n(&scene.owner.id, 101).collect();
    let cases = [
        ("reply_to", json!([1, 99]), "bad_request", "reply_to"),
        ("reply_to", json!([0, 0]), "bad_request", "reply_to"),
        ("reply_to", json!([1, 1]), "bad_request", "reply_to"),
        ("reply_to", json!([1]), "bad_request", "reply_to"),
        ("mentions", json!("all"), "forbidden", ""),
        ("mentions", json!(many), "bad_request", "mentions"),
        ("mentions", json!("some"), "bad_request", "mentions"),
        ("group", json!(unknown), "not_found", ""),
        ("group", json!("g_1"), "bad_request", "group"),
        ("client_id", json!("x"), "bad_request", "client_id"),
        (
            "body",
            json!({"kind": "text", "text": "a\0b"}),
            "bad_request",
            "body.text",
        ),
        (
            "body",
            json!({"kind": "text", "text": " \n"}),
            "bad_request",
            "body.text",
        ),
        (
            "body",
            json!({"kind": "text", "text": 5}),
            "bad_request",
            "body.text",
        ),
        ("body", json!({"kind": "text"}), "bad_request", "body"),
        (
            "body",
            json!({"kind": "txet", "text": "a"}),
            "bad_request",
            "body.kind",
        ),
        (
            "body",
            json!({"kind": "text", "text": "a", "bold": true}),
            "bad_request",
            "body.bold",
        ),
        ("bdoy", json!({}), "bad_request", "bdoy"),
        ("type", json!("sned"), "bad_request", "type"),
        ("type", json!(1), "bad_request", "type"),
    ];
    for (field, value, code, named) in cases {
        let mut frame = text(&scene.group, "在吗");
        frame[field] = value;
        let error = socket.ask(&frame).await;
        assert_eq!(error["code"], code, "{frame}: {error}");
        let field = error["errors"][0]["field"].as_str().unwrap_or_default();
        assert_eq!(field, named, "{error}");
        socket.settle().await;
    }
    let group = &scene.group;
    let surrogate = format!(
        r#"{{"type":"send","id":901,"group":"{group}","client_id":"{}","body":{{"kind":"text","text":"\ud800"}}}}"#,
        uuid::Uuid::new_v4()
    );
    socket.say_text(&surrogate).await;
    let error = socket.wait("error").await;
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("bad_request"), &json!(901)),
        "{error}"
    );
    let deep = format!(
        r#"{{"id":903,"type":"send","body":{}1{}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    socket.say_text(&deep).await;
    assert_eq!(socket.answer(903).await["code"], "bad_request");
    // Nothing of all that reached the log.
    assert_eq!(
        seq(&accepted(&mut socket, &text(group, "在吗")).await["pos"]),
        3
    );
}

async fn a_text_of_20000_characters_passes_and_one_more_does_not(place: Place) {
    let scene = Scene::on(&place).await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    for character in ["a", "字", "😀", "\u{1}"] {
        let longest = character.repeat(20_000);
        accepted(&mut socket, &text(&scene.group, &longest)).await;
        let pushed = socket.events(&scene.group, 1).await;
        assert_eq!(pushed[0]["body"]["text"], longest);
        let error = socket
            .ask(&text(&scene.group, &character.repeat(20_001)))
            .await;
        assert_eq!(error["errors"][0]["field"], "body.text", "{character}");
    }
    let id = uuid::Uuid::new_v4();
    let escaped = format!(
        r#"{{"type":"send","id":902,"group":"{}","client_id":"{id}","body":{{"kind":"text","text":"{}"}}}}"#,
        scene.group,
        r"\u5b57".repeat(20_000)
    );
    socket.say_text(&escaped).await;
    assert_eq!(socket.answer(902).await["type"], "accepted");
}

async fn an_admin_may_mention_all(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let mut frame = text(&scene.group, "大家好");
    frame["mentions"] = json!("all");
    frame["reply_to"] = json!([1, 2]);
    accepted(&mut owner, &frame).await;
    let event = member.events(&scene.group, 1).await.remove(0);
    assert_eq!(
        (&event["mentions"], &event["reply_to"]),
        (&json!("all"), &json!([1, 2]))
    );
}
