//! Becoming a member and ceasing to be one while connected.

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::server::{Person, TestServer};
use crate::support::socket::{Socket, assert_dense, seq, seqs, text};

flow!(
    both: [
        who_is_added_while_connected_is_told_and_hears_from_there,
        a_newcomer_sees_nothing_from_before_joining,
        who_is_removed_sees_that_and_then_nothing_more,
        who_leaves_sees_that_and_then_nothing_more,
        who_is_removed_and_added_again_hears_again,
        a_group_founded_while_connected_is_told_to_all_its_members,
    ],
    embedded: [],
    services: [
        who_is_added_on_another_node_is_told_and_hears_from_there,
        who_is_removed_on_another_node_sees_that_and_then_nothing_more,
    ],
);

async fn who_is_added_while_connected_is_told_and_hears_from_there(place: Place) {
    let scene = Scene::on(&place).await;
    let newcomer = scene.server.register("lucy").await;
    hears_from_joined(&scene, &newcomer, &scene.server).await;
}

async fn who_is_added_on_another_node_is_told_and_hears_from_there(place: Place) {
    let scene = Scene::on(&place).await;
    let elsewhere = place.serve(&[]).await;
    let newcomer = scene.server.register("lucy").await;
    hears_from_joined(&scene, &newcomer, &elsewhere).await;
}

/// The newcomer is connected to `node`.
async fn hears_from_joined(scene: &Scene, newcomer: &Person, node: &TestServer) {
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    owner.ask(&text(&scene.group, "以前")).await;
    let mut sockets = Vec::new();
    for device in ["web-1", "web-2"] {
        sockets.push(Socket::greeted(node, newcomer, device).await);
    }
    scene.add(newcomer).await.created();
    let mut heads = Vec::new();
    for socket in &mut sockets {
        let joined = socket.wait("joined").await;
        let group = &joined["group"];
        assert_eq!(group["id"], scene.group.as_str(), "{joined}");
        assert_eq!(
            (&group["role"], &group["unread"]),
            (&json!("member"), &json!(0))
        );
        let head = seq(&group["head"]);
        assert!(
            (3..=4).contains(&head),
            "from one's own event, or behind it: {joined}"
        );
        heads.push(head);
    }
    let sent = sockets[0].ask(&text(&scene.group, "大家好")).await;
    assert_eq!((&sent["type"], seq(&sent["pos"])), (&json!("accepted"), 5));
    owner.ask(&text(&scene.group, "欢迎")).await;
    for (socket, head) in sockets.iter_mut().zip(heads) {
        let pushed = socket.events_up_to(&scene.group, 6).await;
        assert_dense(&seqs(&pushed), head + 1);
    }
    assert_dense(&seqs(&owner.events(&scene.group, 4).await), 3);
}

async fn a_newcomer_sees_nothing_from_before_joining(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    for number in 0..5 {
        owner
            .ask(&text(&scene.group, &format!("以前 {number}")))
            .await;
    }
    let newcomer = scene.server.register("lucy").await;
    scene.add(&newcomer).await.created();
    owner.ask(&text(&scene.group, "以后")).await;
    let cursors = json!({scene.group.as_str(): [1, 1]});
    let mut socket = Socket::hello(&scene.server, &newcomer, "web-1", &cursors).await;
    assert_eq!(socket.wait("welcome").await["groups"][0]["verdict"], "ok");
    assert_eq!(seqs(&socket.events(&scene.group, 2).await), [8, 9]);
    let pull = |bound: &str, at: Value| {
        let mut frame = json!({"type": "pull", "group": scene.group});
        frame[bound] = at;
        frame
    };
    for frame in [
        pull("after", json!([0, 0])),
        pull("after", json!([1, 3])),
        pull("before", json!([1, 9])),
    ] {
        let page = socket.ask(&frame).await;
        assert_eq!(page["more"], false, "{page}");
        assert_eq!(seq(&page["events"][0]["pos"]), 8, "{page}");
    }
    let below = socket.ask(&pull("before", json!([1, 8]))).await;
    assert_eq!(
        (&below["events"], &below["more"]),
        (&json!([]), &json!(false))
    );
    let path = format!("{}/messages", scene.path());
    for query in ["", "?after=0-0", "?after=1-3", "?before=1-9&limit=200"] {
        let page = newcomer.client.get(&format!("{path}{query}")).await.ok();
        assert_eq!(seq(&page["items"][0]["pos"]), 8, "{query}: {page}");
        assert_eq!(page["previous"], Value::Null, "{query}: {page}");
    }
    let mut reply = text(&scene.group, "什么？");
    reply["reply_to"] = json!([1, 4]);
    assert_eq!(socket.ask(&reply).await["errors"][0]["field"], "reply_to");
}

async fn who_is_removed_sees_that_and_then_nothing_more(place: Place) {
    let scene = Scene::on(&place).await;
    let socket = scene.socket(&scene.member, "web-1").await;
    sees_the_end(&scene, &scene.server, socket, "removed").await;
}

async fn who_is_removed_on_another_node_sees_that_and_then_nothing_more(place: Place) {
    let scene = Scene::on(&place).await;
    let elsewhere = place.serve(&[]).await;
    let socket = Socket::greeted(&elsewhere, &scene.member, "web-1").await;
    sees_the_end(&scene, &elsewhere, socket, "removed").await;
}

async fn who_leaves_sees_that_and_then_nothing_more(place: Place) {
    let scene = Scene::on(&place).await;
    let socket = scene.socket(&scene.member, "web-1").await;
    sees_the_end(&scene, &scene.server, socket, "left").await;
}

/// The member is connected to `node` by `socket`, and its membership ends by an event of `kind`
/// on the scene's own server.
async fn sees_the_end(scene: &Scene, node: &TestServer, mut socket: Socket, kind: &str) {
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    // Rights that were just used are remembered, here and there.
    socket.ask(&text(&scene.group, "在")).await;
    // What is owed to its author may come at any time.
    socket.wait("stored").await;
    let path = scene.path();
    let there = scene.member.client.at(node.address);
    there.get(&path).await.ok();
    if kind == "left" {
        let left = scene
            .member
            .client
            .post(&format!("{path}/leave"), &json!({}))
            .await;
        left.no_content();
    } else {
        scene.remove(&scene.member).await;
    }
    refused_at_once(scene, node, &mut socket).await;
    let frames = socket.until("gone").await;
    let events = frames
        .iter()
        .rev()
        .find(|frame| frame["type"] == "events")
        .unwrap();
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["kind"], &last["user"]),
        (&json!(kind), &json!(scene.member.id))
    );
    for words in ["她走了吗", "走了"] {
        owner.ask(&text(&scene.group, words)).await;
    }
    owner.events(&scene.group, 4).await;
    socket.settle().await;
    assert_eq!(socket.kept(), Vec::<Value>::new());
    let cursors = json!({scene.group.as_str(): [1, 3]});
    let mut back = Socket::hello(node, &scene.member, "web-2", &cursors).await;
    let groups = back.wait("welcome").await["groups"].clone();
    assert_eq!(groups, json!([{"group": scene.group, "verdict": "gone"}]));
}

/// From the moment the removal was answered nothing is allowed any more, on any node.
async fn refused_at_once(scene: &Scene, node: &TestServer, socket: &mut Socket) {
    let group = &scene.group;
    let frames = [
        text(group, "还在吗"),
        json!({"type": "pull", "group": group, "after": [0, 0]}),
        json!({"type": "pull", "group": group, "before": [1, 3]}),
        json!({"type": "read", "group": group, "pos": [1, 3]}),
    ];
    for frame in frames {
        let error = socket.ask(&frame).await;
        assert_eq!(error["code"], "not_found", "{frame}: {error}");
    }
    let follow = json!({"type": "follow", "groups": {group.as_str(): [1, 3]}, "level": "full"});
    let done = socket.ask(&follow).await;
    assert_eq!(done["groups"], json!([{"group": group, "verdict": "gone"}]));
    let client = scene.member.client.at(node.address);
    let path = scene.path();
    for path in [
        &path,
        &format!("{path}/messages"),
        &format!("{path}/members"),
    ] {
        client.get(path).await.problem(404, "not_found");
    }
}

async fn who_is_removed_and_added_again_hears_again(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut socket = scene.socket(&scene.member, "web-1").await;
    for round in 0..10 {
        scene.remove(&scene.member).await;
        scene.add(&scene.member).await.created();
        socket.wait("joined").await;
        let words = format!("第 {round} 次");
        owner.ask(&text(&scene.group, &words)).await;
        socket
            .take(|frame| frame["type"] == "events" && frame.to_string().contains(&words))
            .await;
    }
    let kinds: Vec<_> = socket
        .kept()
        .iter()
        .map(|frame| frame["type"].clone())
        .collect();
    let count = |kind: &str| kinds.iter().filter(|other| **other == kind).count();
    assert_eq!((count("joined"), count("gone")), (0, 10), "{kinds:?}");
}

async fn a_group_founded_while_connected_is_told_to_all_its_members(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let group = crate::support::scene::found(&scene.owner, "二群", &[&scene.member]).await;
    let mut heads = Vec::new();
    for socket in [&mut owner, &mut member] {
        let joined = socket.wait("joined").await;
        assert_eq!(joined["group"]["id"], group.as_str());
        heads.push(seq(&joined["group"]["head"]));
    }
    let first = owner.ask(&text(&group, "新群")).await;
    assert_eq!(seq(&first["pos"]), 3);
    for (socket, head) in [&mut owner, &mut member].into_iter().zip(heads) {
        let pushed = socket.events_up_to(&group, 3).await;
        assert_dense(&seqs(&pushed), head + 1);
    }
}
