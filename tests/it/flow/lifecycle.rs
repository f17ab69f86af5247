//! Stopping and starting again, seen by clients.

use std::time::Duration;

use qunliu::lifecycle::Stopped;
use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::socket::{SUBPROTOCOL, Socket, assert_dense, seqs, text};

flow!(
    a_drain_says_goaway_and_closes_with_1012,
    what_was_accepted_before_a_stop_is_there_after_it,
    a_socket_that_never_said_hello_does_not_hold_up_a_drain,
);

async fn a_drain_says_goaway_and_closes_with_1012(place: Place) {
    let mut scene = Scene::on(&place).await;
    let mut sockets = [
        scene.socket(&scene.owner, "web-1").await,
        scene.socket(&scene.member, "web-1").await,
    ];
    let goodbye = async {
        for socket in &mut sockets {
            let goaway = socket.wait("goaway").await;
            assert_eq!(goaway["reason"], "drain");
            let wait_ms = goaway["reconnect_after_ms"].as_u64().unwrap();
            assert!(wait_ms < 3_000, "{goaway}");
            assert_eq!(socket.closed().await, 1012);
            assert_eq!(socket.kept(), Vec::<Value>::new());
        }
    };
    let (stopped, ()) = tokio::join!(scene.server.stop(Duration::from_secs(20)), goodbye);
    assert_eq!(stopped, Stopped::Drained);
}

async fn what_was_accepted_before_a_stop_is_there_after_it(place: Place) {
    let mut scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut frames = Vec::new();
    for number in 0..30 {
        let mut frame = text(&scene.group, &format!("{number}"));
        frame["id"] = json!(number);
        owner.say(&frame).await;
        frames.push(frame);
    }
    owner.answer(0).await;
    let (stopped, code) = tokio::join!(scene.server.stop(Duration::from_secs(20)), owner.closed());
    assert_eq!((stopped, code), (Stopped::Drained, 1012));
    let answers = owner.kept();
    let accepted: Vec<_> = answers
        .iter()
        .filter(|frame| frame["type"] == "accepted")
        .collect();
    scene.server = place.restarted(scene.server).await;
    let mut member = scene.resume(&scene.member, "web-1", &json!([1, 2])).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    // Whatever was not answered is sent again, as a client does; nothing is there twice.
    for frame in &mut frames {
        frame["again"] = json!([1, 2]);
        let repeat = owner.ask(frame).await;
        assert_eq!(repeat["type"], "accepted", "{repeat}");
        if let Some(first) = accepted.iter().find(|first| first["id"] == frame["id"]) {
            assert_eq!(
                (&repeat["pos"], &repeat["at"]),
                (&first["pos"], &first["at"])
            );
        }
    }
    let pushed = member.events(&scene.group, 30).await;
    assert_dense(&seqs(&pushed), 3);
    let words: Vec<_> = pushed
        .iter()
        .map(|event| event["body"]["text"].clone())
        .collect();
    let expected: Vec<_> = (0..30).map(|number| json!(format!("{number}"))).collect();
    assert_eq!(words, expected);
}

async fn a_socket_that_never_said_hello_does_not_hold_up_a_drain(place: Place) {
    let mut scene = Scene::on(&place).await;
    let mut silent = Socket::open(scene.server.address, &[SUBPROTOCOL])
        .await
        .unwrap();
    let (stopped, code) = tokio::join!(scene.server.stop(Duration::from_secs(20)), silent.closed());
    // If it were waited for, it would be closed for its silence: 4401.
    assert_eq!((stopped, code), (Stopped::Drained, 1012));
}
