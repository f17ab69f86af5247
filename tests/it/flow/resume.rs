//! Coming back with cursors: what the welcome says, and that nothing is lost or doubled.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::{Scene, found};
use crate::support::socket::{Socket, assert_dense, seq, seqs, text};

flow!(
    both: [
        the_welcome_tells_who_one_is_and_where_each_group_stands,
        a_cursor_gets_what_it_missed_and_then_what_comes,
        a_cursor_too_far_behind_is_told_to_pull_and_hears_what_comes,
        what_is_left_of_the_bound_goes_to_the_latest_active_group,
        a_cursor_that_cannot_be_is_told_to_pull,
        a_cursor_of_a_foreign_group_is_gone,
        nothing_is_lost_or_doubled_through_reconnects_under_load,
    ],
    embedded: [
        groups_above_five_hundred_come_in_frames_of_their_own,
    ],
    services: [],
);

/// Says something, so often; answers what was pushed once all of it was.
async fn say(scene: &Scene, socket: &mut Socket, group: &str, count: usize) -> Vec<Value> {
    let mut last = 0;
    for number in 0..count {
        let sent = socket.ask(&text(group, &format!("{number}"))).await;
        assert_eq!(sent["type"], "accepted", "{sent}");
        last = seq(&sent["pos"]);
        scene.server.clock.advance(10);
    }
    socket.events_up_to(group, last).await
}

async fn the_welcome_tells_who_one_is_and_where_each_group_stands(place: Place) {
    let scene = Scene::on(&place).await;
    let second = found(&scene.owner, "二群", &[&scene.member]).await;
    let cursors = json!({second.as_str(): [1, 2]});
    let mut socket = Socket::hello(&scene.server, &scene.member, "web-1", &cursors).await;
    let frames = socket.until("welcome").await;
    assert_eq!(frames.len(), 1, "the welcome comes first: {frames:?}");
    let welcome = &frames[0];
    let user = json!({"id": scene.member.id, "name": "han.meimei", "display_name": "han.meimei"});
    assert_eq!(welcome["user"], user);
    assert!(welcome["session"].as_str().unwrap().starts_with("s_"));
    assert!(welcome["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(welcome["heartbeat_s"], 25);
    let limits =
        json!({"frame_bytes": 163_840, "text_chars": 20_000, "nesting": 32, "mentions": 100});
    assert_eq!(welcome["limits"], limits);
    assert!(welcome["features"].is_array());
    assert_eq!(welcome["more"], Value::Null);
    let groups = welcome["groups"].as_array().unwrap();
    let ids: Vec<_> = groups
        .iter()
        .map(|group| group["group"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [&second, &scene.group],
        "those with a cursor come first"
    );
    for group in groups {
        let mut told = group.clone();
        told.as_object_mut().unwrap().remove("stored");
        let expected = json!({
            "group": group["group"], "verdict": "ok", "head": [1, 2], "unread": 0, "mentions": 0,
            "role": "member",
        });
        assert_eq!(told, expected);
        assert!(seq(&group["stored"]) <= 2, "{group}");
    }
}

async fn groups_above_five_hundred_come_in_frames_of_their_own(place: Place) {
    let scene = Scene::on(&place).await;
    let mut groups = BTreeSet::from([scene.group.clone()]);
    for number in 1..501 {
        groups.insert(found(&scene.owner, &format!("{number} 群"), &[]).await);
    }
    let cursors = json!({scene.group.as_str(): [1, 2]});
    let mut socket = Socket::hello(&scene.server, &scene.owner, "web-1", &cursors).await;
    let welcome = socket.wait("welcome").await;
    let more = socket.wait("welcome_more").await;
    assert_eq!(welcome["more"], true);
    assert_eq!(welcome["groups"][0]["group"], scene.group.as_str());
    let told = |frame: &Value| frame["groups"].as_array().unwrap().clone();
    assert_eq!((told(&welcome).len(), told(&more).len()), (500, 1));
    let all = told(&welcome).into_iter().chain(told(&more));
    let all = all.map(|group| group["group"].as_str().unwrap().to_owned());
    assert_eq!(all.collect::<BTreeSet<_>>(), groups);
}

async fn a_cursor_gets_what_it_missed_and_then_what_comes(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    say(&scene, &mut owner, &scene.group, 150).await;
    for (cursor, first) in [
        (json!([1, 40]), 41),
        (json!([1, 151]), 152),
        (json!([0, 0]), 2),
    ] {
        let mut back = scene.resume(&scene.member, "web-1", &cursor).await;
        let welcome = back.wait("welcome").await;
        assert_eq!(welcome["groups"][0]["verdict"], "ok", "{cursor}: {welcome}");
        let head = seq(&welcome["groups"][0]["head"]);
        say(&scene, &mut owner, &scene.group, 1).await;
        let count = usize::try_from(head + 2 - first).unwrap();
        assert_dense(&seqs(&back.events(&scene.group, count).await), first);
    }
    // With the head nothing was missed; without a cursor nothing is asked for.
    let mut current = scene.resume(&scene.member, "web-1", &json!([1, 155])).await;
    let mut fresh = scene.socket(&scene.member, "web-2").await;
    current.wait("welcome").await;
    say(&scene, &mut owner, &scene.group, 1).await;
    for socket in [&mut current, &mut fresh] {
        assert_eq!(seqs(&socket.events(&scene.group, 1).await), [156]);
    }
}

async fn a_cursor_too_far_behind_is_told_to_pull_and_hears_what_comes(place: Place) {
    let keys = [("QUNLIU_EGRESS_RESUME_EVENTS_MAX", "5")];
    let scene = Scene::with(&place, &keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    say(&scene, &mut owner, &scene.group, 10).await;
    let mut near = scene.resume(&scene.member, "web-1", &json!([1, 7])).await;
    assert_eq!(near.wait("welcome").await["groups"][0]["verdict"], "ok");
    assert_eq!(
        seqs(&near.events(&scene.group, 5).await),
        [8, 9, 10, 11, 12]
    );
    let mut far = scene.resume(&scene.member, "web-2", &json!([1, 6])).await;
    let welcome = far.wait("welcome").await;
    let group = &welcome["groups"][0];
    assert_eq!(
        (&group["verdict"], &group["head"]),
        (&json!("pull"), &json!([1, 12]))
    );
    say(&scene, &mut owner, &scene.group, 2).await;
    assert_eq!(seqs(&far.events(&scene.group, 2).await), [13, 14]);
    let pull = json!({"type": "pull", "group": scene.group, "after": [1, 6], "limit": 6});
    let page = far.ask(&pull).await;
    assert_eq!(
        seqs(page["events"].as_array().unwrap()),
        [7, 8, 9, 10, 11, 12]
    );
}

async fn what_is_left_of_the_bound_goes_to_the_latest_active_group(place: Place) {
    let keys = [("QUNLIU_EGRESS_RESUME_EVENTS_MAX", "5")];
    let scene = Scene::with(&place, &keys).await;
    let second = found(&scene.owner, "二群", &[&scene.member]).await;
    let third = found(&scene.owner, "三群", &[&scene.member]).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    for (group, count) in [(&scene.group, 1), (&second, 4), (&third, 4)] {
        say(&scene, &mut owner, group, count).await;
    }
    let cursors =
        json!({scene.group.as_str(): [1, 2], second.as_str(): [1, 2], third.as_str(): [1, 2]});
    let mut back = Socket::hello(&scene.server, &scene.member, "web-1", &cursors).await;
    let welcome = back.wait("welcome").await;
    let verdicts: Vec<_> = welcome["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            (
                group["group"].as_str().unwrap(),
                group["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [(&*third, "ok"), (&*second, "pull"), (&*scene.group, "ok")];
    assert_eq!(verdicts, expected);
    assert_dense(&seqs(&back.events(&third, 4).await), 3);
    assert_dense(&seqs(&back.events(&scene.group, 1).await), 3);
}

async fn a_cursor_that_cannot_be_is_told_to_pull(place: Place) {
    let scene = Scene::on(&place).await;
    for cursor in [
        json!([1, 3]),
        json!([1, 1 << 30]),
        json!([9, 1]),
        json!([2, 2]),
    ] {
        let mut socket = scene.resume(&scene.member, "web-1", &cursor).await;
        let frames = socket.until("welcome").await;
        assert_eq!(frames[0]["groups"][0]["verdict"], "pull", "{cursor}");
        socket.settle().await;
        assert_eq!(socket.kept(), Vec::<Value>::new(), "{cursor}");
    }
}

async fn a_cursor_of_a_foreign_group_is_gone(place: Place) {
    let scene = Scene::on(&place).await;
    let foreign = found(&scene.owner, "二群", &[]).await;
    let unknown = format!("g_{}", "0".repeat(32));
    for group in [foreign, unknown] {
        let cursors = json!({group.as_str(): [1, 1]});
        let mut socket = Socket::hello(&scene.server, &scene.member, "web-1", &cursors).await;
        let welcome = socket.wait("welcome").await;
        let told = welcome["groups"].as_array().unwrap();
        assert_eq!(told.len(), 2, "{welcome}");
        assert!(
            told.contains(&json!({"group": group, "verdict": "gone"})),
            "{welcome}"
        );
    }
}

/// Applies events as a client does; answers the last seq held.
fn apply(held: &mut BTreeMap<u64, Value>, events: &[Value]) {
    for event in events {
        let next = held.last_key_value().map_or(3, |(seq, _)| seq + 1);
        let seq = seq(&event["pos"]);
        assert_eq!(seq, next, "what comes continues what is held");
        held.insert(seq, event.clone());
    }
}

async fn nothing_is_lost_or_doubled_through_reconnects_under_load(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let writing = say(&scene, &mut owner, &scene.group, 150);
    let reading = async {
        let mut held = BTreeMap::new();
        while held.len() < 150 {
            let last = held.last_key_value().map_or(2, |(seq, _)| *seq);
            let mut socket = scene
                .resume(&scene.member, "web-1", &json!([1, last]))
                .await;
            let welcome = socket.wait("welcome").await;
            assert_eq!(welcome["groups"][0]["verdict"], "ok", "{welcome}");
            // A few events, and away in the middle of what comes.
            let wanted = 15.min(150 - held.len());
            let pushed = socket.events(&scene.group, wanted).await;
            apply(&mut held, &pushed);
        }
        held
    };
    let (pushed, held) = tokio::join!(writing, reading);
    let events: Vec<Value> = held.into_values().collect();
    assert_eq!(events, pushed);
}
