//! Read marks and counts: exact, for each member, on each device.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::server::{PASSWORD, Person};
use crate::support::socket::{DEADLINE, Socket, seq, text};

flow!(
    only_messages_of_others_are_unread,
    a_mark_never_goes_back,
    mentions_are_counted_until_read,
    other_devices_hear_of_a_read_mark,
    a_mark_above_the_head_is_refused,
    counts_stay_exact_through_any_order_of_sends_and_reads,
);

/// Unread and mentions of a person in the scene's group, as every place tells them.
async fn counts(scene: &Scene, person: &Person) -> (u64, u64) {
    let pair = |told: &Value| {
        (
            told["unread"].as_u64().unwrap(),
            told["mentions"].as_u64().unwrap(),
        )
    };
    let totals = person.client.get("/v1/unread").await.ok();
    let state = person.client.get(&scene.path()).await.ok();
    assert_eq!(
        pair(&totals),
        pair(&totals["groups"][&scene.group]),
        "{totals}"
    );
    assert_eq!(pair(&state), pair(&totals), "{state} {totals}");
    pair(&totals)
}

/// Waits until everybody's counting began: it begins behind the own `joined` event.
async fn counting(scene: &Scene) {
    let mut owner = scene.socket(&scene.owner, "counting").await;
    owner.ask(&text(&scene.group, "开始")).await;
    eventually(DEADLINE, async || {
        scene.member.client.get("/v1/unread").await.ok()["unread"] == 1
    })
    .await;
    read(scene, &scene.member, 3).await;
    read(scene, &scene.owner, 3).await;
}

async fn read(scene: &Scene, person: &Person, seq: u64) -> Value {
    let path = format!("{}/read", scene.path());
    person
        .client
        .put(&path, &json!({"pos": [1, seq]}))
        .await
        .ok()
}

async fn say(socket: &mut Socket, scene: &Scene, mentions: Value) -> u64 {
    let mut frame = text(&scene.group, "在吗");
    frame["mentions"] = mentions;
    let accepted = socket.ask(&frame).await;
    assert_eq!(accepted["type"], "accepted", "{accepted}");
    seq(&accepted["pos"])
}

async fn only_messages_of_others_are_unread(place: Place) {
    let scene = Scene::on(&place).await;
    counting(&scene).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    for _ in 0..3 {
        say(&mut owner, &scene, json!([])).await;
    }
    for _ in 0..2 {
        say(&mut member, &scene, json!([])).await;
    }
    // A new name is an event, and no message.
    scene
        .owner
        .client
        .patch(&scene.path(), &json!({"name": "二号"}))
        .await
        .ok();
    assert_eq!(counts(&scene, &scene.member).await, (3, 0));
    assert_eq!(counts(&scene, &scene.owner).await, (2, 0));
    // Between the messages of the owner, and behind all of them.
    let marked = read(&scene, &scene.member, 5).await;
    assert_eq!(marked, json!({"pos": [1, 5], "unread": 1, "mentions": 0}));
    assert_eq!(counts(&scene, &scene.member).await, (1, 0));
    read(&scene, &scene.member, 6).await;
    assert_eq!(counts(&scene, &scene.member).await, (0, 0));
    // It is welcomed as of what was pushed.
    owner.events_up_to(&scene.group, 9).await;
    let welcome = {
        let mut socket = scene.resume(&scene.owner, "web-2", &json!([1, 2])).await;
        socket.wait("welcome").await
    };
    assert_eq!(welcome["groups"][0]["unread"], 2, "{welcome}");
}

async fn a_mark_never_goes_back(place: Place) {
    let scene = Scene::on(&place).await;
    counting(&scene).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    for _ in 0..4 {
        say(&mut owner, &scene, json!([])).await;
    }
    let marked = read(&scene, &scene.member, 6).await;
    assert_eq!(marked, json!({"pos": [1, 6], "unread": 1, "mentions": 0}));
    assert_eq!(read(&scene, &scene.member, 4).await, marked);
    assert_eq!(read(&scene, &scene.member, 6).await, marked);
    let mut member = scene.socket(&scene.member, "web-1").await;
    let lower = json!({"type": "read", "group": scene.group, "pos": [1, 5]});
    assert_eq!(member.ask(&lower).await["type"], "done");
    assert_eq!(counts(&scene, &scene.member).await, (1, 0));
}

async fn mentions_are_counted_until_read(place: Place) {
    let scene = Scene::on(&place).await;
    counting(&scene).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let named = say(&mut owner, &scene, json!([scene.member.id])).await;
    let all = say(&mut owner, &scene, json!("all")).await;
    say(&mut owner, &scene, json!([scene.owner.id])).await;
    say(
        &mut member,
        &scene,
        json!([scene.member.id, scene.owner.id]),
    )
    .await;
    for (person, mentions) in [(&scene.member, 2), (&scene.owner, 1)] {
        // Mentions are gathered behind the log.
        eventually(DEADLINE, async || {
            person.client.get("/v1/unread").await.ok()["mentions"] == mentions
        })
        .await;
    }
    assert_eq!(counts(&scene, &scene.member).await, (3, 2));
    assert_eq!(counts(&scene, &scene.owner).await, (1, 1));
    read(&scene, &scene.member, named).await;
    assert_eq!(counts(&scene, &scene.member).await, (2, 1));
    read(&scene, &scene.member, all).await;
    assert_eq!(counts(&scene, &scene.member).await, (1, 0));
}

async fn other_devices_hear_of_a_read_mark(place: Place) {
    let scene = Scene::on(&place).await;
    counting(&scene).await;
    let body = json!({"name": "han.meimei", "password": PASSWORD});
    let granted = scene
        .server
        .anyone()
        .post("/v1/auth/login", &body)
        .await
        .ok();
    let phone = Person::of(scene.server.address, &granted);
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut reading = scene.socket(&scene.member, "web-1").await;
    let mut tab = scene.socket(&scene.member, "web-2").await;
    let mut phone = scene.socket(&phone, "phone").await;
    for _ in 0..3 {
        say(&mut owner, &scene, json!([])).await;
    }
    // Heads are told as of what was pushed.
    for socket in [&mut phone, &mut tab, &mut reading] {
        socket.events_up_to(&scene.group, 6).await;
    }
    let frame = json!({"type": "read", "group": scene.group, "pos": [1, 5]});
    assert_eq!(reading.ask(&frame).await["type"], "done");
    let heads = json!([[scene.group, [1, 6], 1, 0]]);
    for socket in [&mut phone, &mut tab] {
        socket.take(|frame| frame["heads"] == heads).await;
    }
}

async fn a_mark_above_the_head_is_refused(place: Place) {
    let scene = Scene::on(&place).await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let mut frame = json!({"type": "read", "group": scene.group, "pos": [1, 3]});
    for above in [[1, 3], [1, 1_u64 << 52], [2, 1]] {
        frame["pos"] = json!(above);
        let error = member.ask(&frame).await;
        assert_eq!(error["code"], "bad_request", "{above:?}: {error}");
        assert_eq!(error["errors"][0]["field"], "pos", "{error}");
    }
    for known in [[0, 0], [1, 0], [1, 1], [1, 2]] {
        frame["pos"] = json!(known);
        assert_eq!(member.ask(&frame).await["type"], "done", "{known:?}");
    }
}

/// A small model of the counts, beside the real ones.
#[derive(Default)]
struct Model {
    /// Sender and seq of each message.
    messages: Vec<(String, u64)>,
    read: HashMap<String, u64>,
}

impl Model {
    fn unread(&self, person: &Person) -> u64 {
        let read = self.read.get(&person.id).copied().unwrap_or(3);
        let above = self
            .messages
            .iter()
            .filter(|(sender, seq)| *sender != person.id && *seq > read);
        above.count() as u64
    }

    fn mark(&mut self, person: &Person, seq: u64) {
        let read = self.read.entry(person.id.clone()).or_insert(3);
        *read = (*read).max(seq);
    }
}

async fn counts_stay_exact_through_any_order_of_sends_and_reads(place: Place) {
    let scene = Scene::on(&place).await;
    counting(&scene).await;
    let people = [&scene.owner, &scene.member];
    let mut sockets = [
        scene.socket(people[0], "web-1").await,
        scene.socket(people[1], "web-1").await,
    ];
    let mut model = Model::default();
    // A fixed sequence that looks like chance (a linear congruential generator).
    let mut state: u64 = 20_261_124;
    for _ in 0..60 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (who, what) = (usize::from(state >> 40 & 1 == 1), state >> 33 & 3);
        if what < 2 {
            let seq = say(&mut sockets[who], &scene, json!([])).await;
            model.messages.push((people[who].id.clone(), seq));
        } else {
            let newest = model.messages.last().map_or(3, |(_, seq)| *seq);
            let seq = newest.saturating_sub(state >> 50 & 3).max(1);
            read(&scene, people[who], seq).await;
            model.mark(people[who], seq);
        }
        for person in people {
            assert_eq!(
                counts(&scene, person).await.0,
                model.unread(person),
                "{:?}",
                model.messages
            );
        }
    }
}
