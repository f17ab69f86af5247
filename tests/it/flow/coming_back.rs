//! Coming back while nothing else answers but the live logs: who was here before is welcomed with
//! exact counts and all that was missed, on any node, without a question to the directory or to the
//! message store (dataflow.md; a reconnect storm must not become a storm of queries).

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::mongo::Profile;
use crate::support::place::Place;
use crate::support::postgres::Locked;
use crate::support::scene::{Scene, found};
use crate::support::server::TestServer;
use crate::support::socket::{DEADLINE, Socket, seqs, text};

flow!(
    both: [
        counts_are_right_whatever_happened_since_the_last_time,
    ],
    embedded: [],
    services: [
        a_warm_resume_asks_neither_directory_nor_message_store,
    ],
);

/// Says something that mentions these; answers when everybody's counts know of it.
async fn say(scene: &Scene, socket: &mut Socket, mentions: Value) {
    let before = unread(scene).await;
    let mut frame = text(&scene.group, "在吗");
    let is_mention = mentions != json!([]);
    frame["mentions"] = mentions;
    let accepted = socket.ask(&frame).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    eventually(DEADLINE, async || {
        let now = unread(scene).await;
        now.0 == before.0 + 1 && now.1 == before.1 + u64::from(is_mention)
    })
    .await;
}

/// Unread and mentions of the member, as REST tells them.
async fn unread(scene: &Scene) -> (u64, u64) {
    let told = scene.member.client.get(&scene.path()).await.ok();
    (
        told["unread"].as_u64().unwrap(),
        told["mentions"].as_u64().unwrap(),
    )
}

/// The member reads up to here.
async fn read(scene: &Scene, seq: u64) {
    let (path, pos) = (format!("{}/read", scene.path()), json!({ "pos": [1, seq] }));
    scene.member.client.put(&path, &pos).await.ok();
}

async fn welcome(server: &TestServer, scene: &Scene, cursors: &Value) -> (Socket, Value) {
    let mut socket = Socket::hello(server, &scene.member, "web-1", cursors).await;
    let welcome = socket.wait("welcome").await;
    let groups = welcome["groups"].as_array().unwrap();
    let own = groups.iter().find(|group| group["group"] == scene.group);
    let own = own.unwrap_or_else(|| panic!("not in {welcome}")).clone();
    (socket, own)
}

/// How many sockets of this server were welcomed by a card.
async fn by_card(server: &TestServer) -> u64 {
    let page = server.operator().get("/metrics").await;
    let line = "qunliu_socket_arrivals_total{by=\"card\"} ";
    let value = page.text.lines().find_map(|found| found.strip_prefix(line));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn a_warm_resume_asks_neither_directory_nor_message_store(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    found(&scene.owner, "二群", &[&scene.member]).await;
    for _ in 0..3 {
        say(&scene, &mut owner, json!([])).await;
    }
    drop(welcome(&scene.server, &scene, &json!({})).await);
    read(&scene, 4).await;
    say(&scene, &mut owner, json!([scene.member.id])).await;
    say(&scene, &mut owner, json!("all")).await;
    say(&scene, &mut owner, json!([])).await;
    let expected = unread(&scene).await;
    assert_eq!(expected, (4, 2));

    let other = place.serve(&[]).await;
    let locked = Locked::tables(&place, &["users", "groups", "members"]).await;
    let profile = Profile::begin(&place).await;
    for server in [&scene.server, &other] {
        let before = by_card(server).await;
        let cursors = json!({ scene.group.as_str(): [1, 5] });
        let (mut socket, own) = welcome(server, &scene, &cursors).await;
        assert_eq!(
            (&own["verdict"], &own["head"]),
            (&json!("ok"), &json!([1, 8]))
        );
        assert_eq!((&own["unread"], &own["mentions"]), (&json!(4), &json!(2)));
        assert_eq!(seqs(&socket.events(&scene.group, 3).await), [6, 7, 8]);
        assert_eq!(by_card(server).await, before + 1);
    }
    assert_eq!(profile.reads().await, Vec::<String>::new());
    locked.release().await;
}

async fn counts_are_right_whatever_happened_since_the_last_time(place: Place) {
    let scene = Scene::on(&place).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    say(&scene, &mut owner, json!([])).await;
    drop(welcome(&scene.server, &scene, &json!({})).await);
    let check = async |scene: &Scene| {
        let (_, own) = welcome(&scene.server, scene, &json!({})).await;
        let (count, mentions) = unread(scene).await;
        assert_eq!(
            (&own["unread"], &own["mentions"]),
            (&json!(count), &json!(mentions))
        );
        own
    };
    say(&scene, &mut owner, json!("all")).await;
    check(&scene).await;
    // A mark, on this card as everywhere.
    read(&scene, 4).await;
    assert_eq!(check(&scene).await["unread"], 0);
    // Another role, another name, another group, and out of the first.
    let member = format!("{}/members/{}", scene.path(), scene.member.id);
    let role = json!({"role": "admin"});
    scene.owner.client.patch(&member, &role).await.ok();
    assert_eq!(check(&scene).await["role"], "admin");
    let name = json!({"display_name": "韩梅梅"});
    scene.member.client.patch("/v1/me", &name).await.ok();
    let second = found(&scene.owner, "二群", &[&scene.member]).await;
    let mut socket = Socket::hello(&scene.server, &scene.member, "web-1", &json!({})).await;
    let told = socket.wait("welcome").await;
    assert_eq!(told["user"]["display_name"], "韩梅梅");
    assert_eq!(told["groups"].as_array().unwrap().len(), 2, "{told}");
    scene.remove(&scene.member).await;
    let mut socket = Socket::hello(&scene.server, &scene.member, "web-2", &json!({})).await;
    let told = socket.wait("welcome").await;
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{told}");
    assert_eq!(groups[0]["group"], second);
}
