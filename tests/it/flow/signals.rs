//! What is told in passing: who types, who comes and goes, and who is here now.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::place::Place;
use crate::support::scene::{Scene, found};
use crate::support::server::{Person, TestServer};
use crate::support::socket::{DEADLINE, Socket, text};

flow!(
    both: [
        typing_is_told_to_all_others_and_to_nobody_twice_within_three_seconds,
        typing_is_refused_as_a_send_is,
        who_was_removed_types_no_more_and_hears_nothing,
        coming_and_going_is_told_and_a_reconnect_is_not,
        who_joins_is_told_to_be_online,
        in_a_group_that_is_too_large_nothing_is_told,
    ],
    embedded: [],
    services: [
        signals_cross_nodes_and_who_is_at_two_goes_with_the_last,
        people_of_a_node_that_died_are_offline_within_a_heartbeat,
    ],
);

/// A grace that a test can wait for; leases as short as that.
const KEYS: &[(&str, &str)] = &[
    ("QUNLIU_EGRESS_OFFLINE_AFTER_S", "1"),
    ("QUNLIU_REDIS_LEASE_MS", "2000"),
];

fn typing(group: &str) -> Value {
    json!({"type": "typing", "group": group})
}

fn signal(group: &str, kind: &str, person: &Person) -> Value {
    json!({"type": "signal", "group": group, "kind": kind, "user": person.id})
}

/// Who is online in the scene's group, by id.
async fn online(scene: &Scene, person: &Person) -> Vec<String> {
    let path = format!("{}/presence", scene.path());
    let present = person.client.get(&path).await.ok();
    let mut online: Vec<String> = serde_json::from_value(present["online"].clone()).unwrap();
    online.sort();
    online
}

async fn are_online(scene: &Scene, people: &[&Person]) {
    let mut wanted: Vec<_> = people.iter().map(|person| person.id.clone()).collect();
    wanted.sort();
    eventually(DEADLINE, async || {
        online(scene, &scene.owner).await == wanted
    })
    .await;
}

/// The value of a metric's line.
async fn metric(server: &TestServer, line: &str) -> u64 {
    let metrics = server.operator().get("/metrics").await;
    let value = metrics
        .text
        .lines()
        .find_map(|found| found.strip_prefix(line));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

/// Somebody who comes and goes so that what did not happen before shows.
struct Witness {
    person: Person,
    socket: Socket,
}

impl Witness {
    async fn of(scene: &Scene, owner: &mut Socket) -> Self {
        let person = scene.server.register("wang.wu").await;
        let mut socket = scene.socket(&person, "web-1").await;
        scene.add(&person).await.created();
        socket.wait("joined").await;
        while owner.signal().await != signal(&scene.group, "online", &person) {}
        Self { person, socket }
    }

    /// Goes, and is the only one of whom that is told.
    async fn leaves_alone(self, scene: &Scene, owner: &mut Socket) {
        drop(self.socket);
        let gone = signal(&scene.group, "offline", &self.person);
        let mut told = vec![owner.signal().await];
        while told.last() != Some(&gone) {
            told.push(owner.signal().await);
        }
        owner.settle().await;
        told.extend(owner.signals());
        let offline: Vec<_> = told.iter().filter(|s| s["kind"] == "offline").collect();
        assert_eq!(offline, [&gone]);
    }
}

async fn typing_is_told_to_all_others_and_to_nobody_twice_within_three_seconds(place: Place) {
    let scene = Scene::on(&place).await;
    let group = &*scene.group;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut own_phone = scene.socket(&scene.member, "phone").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    for _ in 0..5 {
        member.say(&typing(group)).await;
    }
    while owner.signal().await != signal(group, "typing", &scene.member) {}
    let coalesced = r#"qunliu_signals_dropped_total{reason="pace"}"#;
    eventually(DEADLINE, async || {
        metric(&scene.server, coalesced).await == 4
    })
    .await;
    // Another person and another group have a pace of their own.
    let other = found(&scene.owner, "2 群", &[&scene.member]).await;
    owner.wait("joined").await;
    member.wait("joined").await;
    owner.say(&typing(group)).await;
    owner.say(&typing(&other)).await;
    for group in [group, &other] {
        while member.signal().await != signal(group, "typing", &scene.owner) {}
    }
    own_phone.settle().await;
    owner.settle().await;
    let again = |socket: &mut Socket, person| {
        let typed = signal(group, "typing", person);
        socket.signals().contains(&typed)
    };
    assert!(!again(&mut owner, &scene.member), "told twice");
    assert!(!again(&mut own_phone, &scene.member), "told to oneself");
}

async fn typing_is_refused_as_a_send_is(place: Place) {
    let scene = Scene::on(&place).await;
    let stranger = scene.server.register("wang.wu").await;
    let mut socket = scene.socket(&stranger, "web-1").await;
    socket.say(&typing(&scene.group)).await;
    let error = socket.wait("error").await;
    assert_eq!(
        (&error["code"], &error["group"], error.get("id")),
        (&json!("not_found"), &json!(scene.group), None)
    );
    let path = format!("{}/members/{}", scene.path(), scene.member.id);
    let guest = json!({"role": "guest"});
    scene.owner.client.patch(&path, &guest).await.ok();
    let mut socket = scene.socket(&scene.member, "web-1").await;
    socket.say(&typing(&scene.group)).await;
    let error = socket.wait("error").await;
    assert_eq!(error["code"], "forbidden", "{error}");
    let sent = socket.ask(&text(&scene.group, "在吗")).await;
    assert_eq!(sent["code"], "forbidden", "{sent}");
}

async fn who_was_removed_types_no_more_and_hears_nothing(place: Place) {
    let scene = Scene::on(&place).await;
    let group = &*scene.group;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    // What the node remembers of the membership must not outlive it.
    member.ask(&text(group, "在吗")).await;
    scene.remove(&scene.member).await;
    member.wait("gone").await;
    member.signals();
    owner.say(&typing(group)).await;
    let pushed = r#"qunliu_signals_pushed_total{kind="typing"}"#;
    eventually(DEADLINE, async || metric(&scene.server, pushed).await == 1).await;
    member.say(&typing(group)).await;
    let error = member.wait("error").await;
    assert_eq!(error["code"], "not_found", "{error}");
    member.settle().await;
    assert_eq!(member.signals(), [] as [Value; 0]);
    let path = format!("{}/presence", scene.path());
    let refused = scene.member.client.get(&path).await;
    refused.problem(404, "not_found");
    are_online(&scene, &[&scene.owner]).await;
}

async fn coming_and_going_is_told_and_a_reconnect_is_not(place: Place) {
    let grace = ("QUNLIU_EGRESS_OFFLINE_AFTER_S", "5");
    let scene = Scene::with(&place, &[grace]).await;
    let group = &*scene.group;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    are_online(&scene, &[&scene.owner]).await;
    let first = scene.socket(&scene.member, "web-1").await;
    assert_eq!(owner.signal().await, signal(group, "online", &scene.member));
    are_online(&scene, &[&scene.owner, &scene.member]).await;
    let witness = Witness::of(&scene, &mut owner).await;
    let second = scene.socket(&scene.member, "phone").await;
    let between = scene.server.register("zhao.liu").await;
    drop(first);
    drop(second);
    // Back before the grace is over, and after the node saw that nobody is there: it looks in rounds,
    // and whoever comes afterwards is told by the same one or a later one.
    eventually(DEADLINE, async || {
        metric(&scene.server, "qunliu_sockets_open").await == 2
    })
    .await;
    let _socket = scene.socket(&between, "web-1").await;
    scene.add(&between).await.created();
    while owner.signal().await != signal(group, "online", &between) {}
    let third = scene.socket(&scene.member, "web-1").await;
    witness.leaves_alone(&scene, &mut owner).await;
    are_online(&scene, &[&scene.owner, &scene.member, &between]).await;
    drop(third);
    assert_eq!(
        owner.signal().await,
        signal(group, "offline", &scene.member)
    );
    are_online(&scene, &[&scene.owner, &between]).await;
}

async fn who_joins_is_told_to_be_online(place: Place) {
    let scene = Scene::on(&place).await;
    let newcomer = scene.server.register("wang.wu").await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut socket = scene.socket(&newcomer, "web-1").await;
    // Else the own coming would be told in the group.
    eventually(DEADLINE, async || {
        metric(&scene.server, "qunliu_users_here").await == 2
    })
    .await;
    scene.add(&newcomer).await.created();
    socket.wait("joined").await;
    let online = signal(&scene.group, "online", &newcomer);
    while owner.signal().await != online {}
    are_online(&scene, &[&scene.owner, &newcomer]).await;
}

async fn in_a_group_that_is_too_large_nothing_is_told(place: Place) {
    let keys = [("QUNLIU_EGRESS_SIGNALS_MEMBERS_MAX", "1")];
    let scene = Scene::with(&place, &keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    member.say(&typing(&scene.group)).await;
    let dropped = r#"qunliu_signals_dropped_total{reason="group_size"}"#;
    eventually(DEADLINE, async || metric(&scene.server, dropped).await == 1).await;
    owner.settle().await;
    assert_eq!(owner.signals(), [] as [Value; 0]);
    let path = format!("{}/presence", scene.path());
    let present = scene.owner.client.get(&path).await.ok();
    assert_eq!(present, json!({"online": null}));
}

async fn signals_cross_nodes_and_who_is_at_two_goes_with_the_last(place: Place) {
    let scene = Scene::with(&place, KEYS).await;
    let group = &*scene.group;
    let other = place.serve(KEYS).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut far = Socket::greeted(&other, &scene.member, "web-1").await;
    assert_eq!(owner.signal().await, signal(group, "online", &scene.member));
    far.say(&typing(group)).await;
    assert_eq!(owner.signal().await, signal(group, "typing", &scene.member));
    let near = scene.socket(&scene.member, "phone").await;
    owner.say(&typing(group)).await;
    while far.signal().await != signal(group, "typing", &scene.owner) {}
    let witness = Witness::of(&scene, &mut owner).await;
    drop(far);
    // Once that node has noticed, the witness of this one leaves, later.
    eventually(DEADLINE, async || {
        metric(&other, "qunliu_users_here").await == 0
    })
    .await;
    witness.leaves_alone(&scene, &mut owner).await;
    drop(near);
    assert_eq!(
        owner.signal().await,
        signal(group, "offline", &scene.member)
    );
}

async fn people_of_a_node_that_died_are_offline_within_a_heartbeat(place: Place) {
    let scene = Scene::with(&place, KEYS).await;
    let mut dying = place.serve(KEYS).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let _lost = Socket::greeted(&dying, &scene.member, "web-1").await;
    let group = &*scene.group;
    assert_eq!(owner.signal().await, signal(group, "online", &scene.member));
    // Nothing is given back, as in a crash.
    dying.stop(Duration::ZERO).await;
    let heartbeat = Duration::from_secs(25);
    let told = tokio::time::timeout(heartbeat, owner.signal()).await;
    assert_eq!(told.unwrap(), signal(group, "offline", &scene.member));
    are_online(&scene, &[&scene.owner]).await;
}
