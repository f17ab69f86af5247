//! What is told in passing: who types, who comes and goes, and who is here now.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::scene::{Scene, found};
use crate::support::server::{Person, TestServer};
use crate::support::socket::{DEADLINE, Socket, text};
use crate::support::{eventually, held_up};

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

/// A grace that a test can wait for.
const GRACE: (&str, &str) = ("QUNLIU_EGRESS_OFFLINE_AFTER_S", "1");

/// How long typing is not told again, and a little more.
const PACE: Duration = Duration::from_millis(3_100);

fn typing(group: &str) -> Value {
    json!({"type": "typing", "group": group})
}

fn signal(group: &str, kind: &str, person: &Person) -> Value {
    json!({"type": "signal", "group": group, "kind": kind, "user": person.id})
}

/// Types until that is told, for it may be dropped; answers how often. `told` may look for so long.
async fn types_until(
    socket: &mut Socket,
    group: &str,
    mut told: impl AsyncFnMut(Duration) -> bool,
) -> u64 {
    for times in 1..=10 {
        socket.say(&typing(group)).await;
        if told(PACE).await {
            return times;
        }
    }
    panic!("typing is never told");
}

/// The same until this metric of the server is not 0 any more.
async fn types_until_counted(socket: &mut Socket, scene: &Scene, line: &str) {
    let is_counted = async || scene.server.metric(line).await >= 1;
    types_until(socket, &scene.group, async |pace| {
        let counted = tokio::time::timeout(pace, eventually(DEADLINE, &is_counted));
        counted.await.is_ok()
    })
    .await;
}

/// Types where one may not; answers the refusal.
async fn refused(socket: &mut Socket, group: &str) -> Value {
    loop {
        socket.say(&typing(group)).await;
        let error = socket.wait("error").await;
        if held_up(&error).is_none() {
            return error;
        }
        tokio::time::sleep(PACE).await;
    }
}

/// The signals up to this one. If it does not come, one of the servers must have counted that it
/// dropped some; then those that came.
async fn told(servers: &[&TestServer], socket: &mut Socket, wanted: &Value) -> Vec<Value> {
    let begun = Instant::now();
    let mut told = Vec::new();
    while told.last() != Some(wanted) {
        match tokio::time::timeout(Duration::from_secs(1), socket.signal()).await {
            Ok(signal) => told.push(signal),
            Err(_) if dropped(servers).await > 0 => break,
            Err(_) => assert!(begun.elapsed() < DEADLINE, "{wanted} is not in {told:?}"),
        }
    }
    told
}

/// Signals that were dropped, but for typing that came too soon.
async fn dropped(servers: &[&TestServer]) -> u64 {
    let mut dropped = 0;
    for server in servers {
        let page = server.operator().get("/metrics").await.text;
        let lines = page.lines().filter_map(|line| {
            let of = line.strip_prefix("qunliu_signals_dropped_total{reason=")?;
            of.split_once(' ')
                .filter(|(reason, _)| !reason.contains("pace"))
        });
        dropped += lines
            .map(|(_, count)| count.parse::<u64>().unwrap())
            .sum::<u64>();
    }
    dropped
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

/// Somebody who comes and goes so that what did not happen before shows.
struct Witness {
    person: Person,
    socket: Socket,
}

impl Witness {
    async fn of(scene: &Scene, servers: &[&TestServer], owner: &mut Socket) -> Self {
        let person = scene.server.register("wang.wu").await;
        let mut socket = scene.socket(&person, "web-1").await;
        scene.add(&person).await.created();
        socket.wait("joined").await;
        told(servers, owner, &signal(&scene.group, "online", &person)).await;
        Self { person, socket }
    }

    /// Goes, and is the only one of whom that is told.
    async fn leaves_alone(self, scene: &Scene, servers: &[&TestServer], owner: &mut Socket) {
        drop(self.socket);
        let gone = signal(&scene.group, "offline", &self.person);
        let mut told = told(servers, owner, &gone).await;
        let left = async || !online(scene, &scene.owner).await.contains(&self.person.id);
        eventually(DEADLINE, left).await;
        owner.settle().await;
        told.extend(owner.signals());
        told.retain(|signal| signal["kind"] == "offline");
        assert!(told.iter().all(|signal| *signal == gone), "{told:?}");
    }
}

async fn typing_is_told_to_all_others_and_to_nobody_twice_within_three_seconds(place: Place) {
    let scene = Scene::on(&place).await;
    let group = &*scene.group;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut own_phone = scene.socket(&scene.member, "phone").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    for _ in 0..4 {
        member.say(&typing(group)).await;
    }
    let typed = signal(group, "typing", &scene.member);
    let hears = async |pace: Duration| owner.hears(&typed, pace).await;
    let said = 4 + types_until(&mut member, group, hears).await;
    member.settle().await;
    let pace = r#"qunliu_signals_dropped_total{reason="pace"}"#;
    let too_soon = async || scene.server.metric(pace).await;
    let before = too_soon().await;
    assert!((1..said).contains(&before), "{before} of {said}");
    // Another person and another group have a pace of their own.
    let other = found(&scene.owner, "2 群", &[&scene.member]).await;
    owner.wait("joined").await;
    member.wait("joined").await;
    owner.say(&typing(group)).await;
    owner.say(&typing(&other)).await;
    owner.settle().await;
    assert_eq!(too_soon().await, before);
    for group in [group, &other] {
        let typed = signal(group, "typing", &scene.owner);
        let hears = async |pace: Duration| member.hears(&typed, pace).await;
        types_until(&mut owner, group, hears).await;
    }
    own_phone.settle().await;
    owner.settle().await;
    let again = |socket: &mut Socket| {
        let signals = socket.signals().into_iter();
        signals.filter(|signal| *signal == typed).count() as u64
    };
    assert!(again(&mut owner) < said - before, "told twice");
    assert_eq!(again(&mut own_phone), 0, "told to oneself");
}

async fn typing_is_refused_as_a_send_is(place: Place) {
    let scene = Scene::on(&place).await;
    let stranger = scene.server.register("wang.wu").await;
    let mut socket = scene.socket(&stranger, "web-1").await;
    let error = refused(&mut socket, &scene.group).await;
    assert_eq!(
        (&error["code"], &error["group"], error.get("id")),
        (&json!("not_found"), &json!(scene.group), None)
    );
    let path = format!("{}/members/{}", scene.path(), scene.member.id);
    let guest = json!({"role": "guest"});
    scene.owner.client.patch(&path, &guest).await.ok();
    let mut socket = scene.socket(&scene.member, "web-1").await;
    let error = refused(&mut socket, &scene.group).await;
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
    let pushed = r#"qunliu_signals_pushed_total{kind="typing"}"#;
    types_until_counted(&mut owner, &scene, pushed).await;
    let error = refused(&mut member, group).await;
    assert_eq!(error["code"], "not_found", "{error}");
    member.settle().await;
    assert_eq!(member.signals(), [] as [Value; 0]);
    let path = format!("{}/presence", scene.path());
    let refused = scene.member.client.get(&path).await;
    refused.problem(404, "not_found");
    are_online(&scene, &[&scene.owner]).await;
}

async fn coming_and_going_is_told_and_a_reconnect_is_not(place: Place) {
    let grace = ("QUNLIU_EGRESS_OFFLINE_AFTER_S", "10");
    let scene = Scene::with(&place, &[grace]).await;
    let (group, servers) = (&*scene.group, &[&scene.server]);
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    are_online(&scene, &[&scene.owner]).await;
    let first = scene.socket(&scene.member, "web-1").await;
    let came = signal(group, "online", &scene.member);
    told(servers, &mut owner, &came).await;
    are_online(&scene, &[&scene.owner, &scene.member]).await;
    let witness = Witness::of(&scene, servers, &mut owner).await;
    let second = scene.socket(&scene.member, "phone").await;
    let between = scene.server.register("zhao.liu").await;
    drop(first);
    drop(second);
    // Back before the grace is over, and after the node saw that nobody is there: it looks in rounds,
    // and whoever comes afterwards is told by the same one or a later one.
    eventually(DEADLINE, async || {
        scene.server.metric("qunliu_sockets_open").await == 2
    })
    .await;
    let _socket = scene.socket(&between, "web-1").await;
    scene.add(&between).await.created();
    told(servers, &mut owner, &signal(group, "online", &between)).await;
    let third = scene.socket(&scene.member, "web-1").await;
    witness.leaves_alone(&scene, servers, &mut owner).await;
    are_online(&scene, &[&scene.owner, &scene.member, &between]).await;
    drop(third);
    let gone = signal(group, "offline", &scene.member);
    told(servers, &mut owner, &gone).await;
    are_online(&scene, &[&scene.owner, &between]).await;
}

async fn who_joins_is_told_to_be_online(place: Place) {
    let scene = Scene::on(&place).await;
    let newcomer = scene.server.register("wang.wu").await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut socket = scene.socket(&newcomer, "web-1").await;
    // Else the own coming would be told in the group.
    eventually(DEADLINE, async || {
        scene.server.metric("qunliu_users_here").await == 2
    })
    .await;
    scene.add(&newcomer).await.created();
    socket.wait("joined").await;
    let online = signal(&scene.group, "online", &newcomer);
    told(&[&scene.server], &mut owner, &online).await;
    are_online(&scene, &[&scene.owner, &newcomer]).await;
}

async fn in_a_group_that_is_too_large_nothing_is_told(place: Place) {
    let keys = [("QUNLIU_EGRESS_SIGNALS_MEMBERS_MAX", "1")];
    let scene = Scene::with(&place, &keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut member = scene.socket(&scene.member, "web-1").await;
    let dropped = r#"qunliu_signals_dropped_total{reason="group_size"}"#;
    types_until_counted(&mut member, &scene, dropped).await;
    owner.settle().await;
    assert_eq!(owner.signals(), [] as [Value; 0]);
    let path = format!("{}/presence", scene.path());
    let present = scene.owner.client.get(&path).await.ok();
    assert_eq!(present, json!({"online": null}));
}

async fn signals_cross_nodes_and_who_is_at_two_goes_with_the_last(place: Place) {
    let keys = [GRACE, ("QUNLIU_REDIS_LEASE_MS", "5000")];
    let scene = Scene::with(&place, &keys).await;
    let other = place.serve(&keys).await;
    let (group, servers) = (&*scene.group, &[&scene.server, &other]);
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let mut far = Socket::greeted(&other, &scene.member, "web-1").await;
    let came = signal(group, "online", &scene.member);
    told(servers, &mut owner, &came).await;
    let typed = signal(group, "typing", &scene.member);
    let hears = async |pace: Duration| owner.hears(&typed, pace).await;
    types_until(&mut far, group, hears).await;
    let near = scene.socket(&scene.member, "phone").await;
    let typed = signal(group, "typing", &scene.owner);
    let hears = async |pace: Duration| far.hears(&typed, pace).await;
    types_until(&mut owner, group, hears).await;
    let witness = Witness::of(&scene, servers, &mut owner).await;
    drop(far);
    // Once that node has noticed, the witness of this one leaves, later.
    eventually(DEADLINE, async || {
        other.metric("qunliu_users_here").await == 0
    })
    .await;
    witness.leaves_alone(&scene, servers, &mut owner).await;
    drop(near);
    let gone = signal(group, "offline", &scene.member);
    told(servers, &mut owner, &gone).await;
}

async fn people_of_a_node_that_died_are_offline_within_a_heartbeat(place: Place) {
    let keys = [GRACE, ("QUNLIU_REDIS_LEASE_MS", "2000")];
    let scene = Scene::with(&place, &keys).await;
    let mut dying = place.serve(&keys).await;
    let mut owner = scene.socket(&scene.owner, "web-1").await;
    let _lost = Socket::greeted(&dying, &scene.member, "web-1").await;
    let of_member = |kind| signal(&scene.group, kind, &scene.member);
    let servers = [&scene.server, &dying];
    told(&servers, &mut owner, &of_member("online")).await;
    // Nothing is given back, as in a crash.
    dying.stop(Duration::ZERO).await;
    let (servers, gone) = ([&scene.server], of_member("offline"));
    let told = told(&servers, &mut owner, &gone);
    let heartbeat = Duration::from_secs(25);
    tokio::time::timeout(heartbeat, told).await.unwrap();
    are_online(&scene, &[&scene.owner]).await;
}
