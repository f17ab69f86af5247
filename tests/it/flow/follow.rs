//! Choosing what is pushed of a group: everything, heads alone, nothing.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::{Scene, found};
use crate::support::socket::{Socket, assert_dense, seq, seqs, text};

flow!(
    at_level_head_only_heads_are_told,
    at_level_none_nothing_is_told,
    full_again_begins_at_the_cursor_or_at_the_head,
    a_group_that_one_is_not_in_is_gone,
);

async fn follow(socket: &mut Socket, group: &str, cursor: Value, level: &str) -> Value {
    let frame = json!({"type": "follow", "groups": {group: cursor}, "level": level});
    let done = socket.ask(&frame).await;
    assert_eq!(done["type"], "done", "{done}");
    done["groups"][0].clone()
}

/// Says something, so often; answers once the node pushed all of it.
async fn say(scene: &Scene, socket: &mut Socket, count: usize) {
    for number in 0..count {
        let sent = socket.ask(&text(&scene.group, &format!("{number}"))).await;
        assert_eq!(sent["type"], "accepted", "{sent}");
        socket.events_up_to(&scene.group, seq(&sent["pos"])).await;
    }
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["type"].as_str().unwrap())
        .collect()
}

async fn at_level_head_only_heads_are_told(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let state = follow(&mut member, &scene.group, Value::Null, "head").await;
    assert_eq!(
        (&state["verdict"], &state["head"]),
        (&json!("ok"), &json!([1, 2]))
    );
    let begun = Instant::now();
    say(&scene, &mut owner, 20).await;
    member
        .take(|frame| frame["type"] == "heads" && frame["heads"][0][1] == json!([1, 22]))
        .await;
    // Coalesced: at most one a second.
    let told = member.kept();
    let most = begun.elapsed().as_secs() + 2;
    assert!(
        kinds(&told).iter().all(|kind| *kind == "heads") && told.len() as u64 <= most,
        "{told:?}"
    );
}

async fn at_level_none_nothing_is_told(place: Place) {
    let scene = Scene::on(&place).await;
    let other = found(&scene.owner, "二群", &[&scene.member]).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    follow(&mut member, &scene.group, Value::Null, "none").await;
    follow(&mut member, &other, Value::Null, "head").await;
    say(&scene, &mut owner, 5).await;
    owner.ask(&text(&other, "在吗")).await;
    // Heads are told of all groups at once.
    let heads = member.wait("heads").await;
    assert_eq!(heads["heads"].as_array().map(Vec::len), Some(1), "{heads}");
    assert_eq!(heads["heads"][0][0], other.as_str());
    assert_eq!(member.kept(), Vec::<Value>::new());
}

async fn full_again_begins_at_the_cursor_or_at_the_head(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    for (cursor, first) in [(json!([1, 2]), 3), (Value::Null, 11)] {
        follow(&mut member, &scene.group, Value::Null, "none").await;
        say(&scene, &mut owner, 3).await;
        let state = follow(&mut member, &scene.group, cursor, "full").await;
        assert_eq!(state["verdict"], "ok", "{state}");
        say(&scene, &mut owner, 2).await;
        let count = if first == 3 { 5 } else { 2 };
        let pushed = member.events(&scene.group, count).await;
        assert_dense(&seqs(&pushed), first);
    }
}

async fn a_group_that_one_is_not_in_is_gone(place: Place) {
    let scene = Scene::on(&place).await;
    let foreign = found(&scene.owner, "二群", &[]).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let unknown = format!("g_{}", "0".repeat(32));
    for group in [&foreign, &unknown] {
        let state = follow(&mut member, group, json!([1, 1]), "full").await;
        assert_eq!(state, json!({"group": group, "verdict": "gone"}));
    }
    owner.ask(&text(&foreign, "秘密")).await;
    owner.events(&foreign, 1).await;
    member.settle().await;
    assert_eq!(member.kept(), Vec::<Value>::new());
}
