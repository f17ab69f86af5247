//! Coming back while nothing else answers but the live logs: who was here before is welcomed with
//! exact counts and all that was missed, on any node, without a question to the directory or to the
//! message store (dataflow.md; a reconnect storm must not become a storm of queries).

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{House, Node};
use crate::support::place::Place;
use crate::support::process::wait_for;
use crate::support::scene::found;
use crate::support::server::Person;
use crate::support::socket::{DEADLINE, Socket, seq, seqs, text};
use crate::support::work::{Meter, SETTINGS};

flow!(
    both: [
        counts_are_right_whatever_happened_since_the_last_time,
    ],
    embedded: [],
    services: [
        a_warm_resume_asks_neither_directory_nor_message_store,
    ],
);

/// What every node asks now and then, whether anybody comes or not: which sessions ended, which
/// changes of members a crash left, whether MongoDB is older than it was, whether both answer.
const STATEMENTS: [&str; 3] = [
    "SELECT number, session_id, user_id FROM revocations",
    "SELECT id, group_id, actor_id, content, decided_at FROM outbox due",
    "SELECT merchant_id FROM founding",
];
const OPERATIONS: [&str; 2] = [
    r#"query fences { "_id": { "$in": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] } }"#,
    r#"query fences { "_id": { "$in": [0] } }"#,
];

/// A group of two.
struct Pair {
    owner: Person,
    member: Person,
    group: String,
}

impl Pair {
    async fn at(address: SocketAddr) -> Self {
        let owner = Person::register(address, "li.lei").await;
        let member = Person::register(address, "han.meimei").await;
        let group = found(&owner, "一群", &[&member]).await;
        Self {
            owner,
            member,
            group,
        }
    }

    fn path(&self) -> String {
        format!("/v1/groups/{}", self.group)
    }

    /// Says something that mentions these; answers when it was pushed and everybody's counts know of
    /// it.
    async fn say(&self, socket: &mut Socket, mentions: Value) {
        let before = self.unread().await;
        let mut frame = text(&self.group, "在吗");
        let is_mention = mentions != json!([]);
        frame["mentions"] = mentions;
        let accepted = socket.ask(&frame).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        let at = seq(&accepted["pos"]);
        socket.events_up_to(&self.group, at).await;
        eventually(DEADLINE, async || {
            let now = self.unread().await;
            now.0 == before.0 + 1 && now.1 == before.1 + u64::from(is_mention)
        })
        .await;
    }

    /// Unread and mentions of the member, as REST tells them.
    async fn unread(&self) -> (u64, u64) {
        counts(&self.member.client.get(&self.path()).await.ok())
    }

    /// The member reads up to here.
    async fn read(&self, seq: u64) {
        let (path, pos) = (format!("{}/read", self.path()), json!({ "pos": [1, seq] }));
        self.member.client.put(&path, &pos).await.ok();
    }

    /// The member comes to this node; answers what is told of the group.
    async fn welcome(&self, address: SocketAddr, cursors: &Value) -> (Socket, Value) {
        let mut socket = Socket::hello_at(address, &self.member, "web-1", cursors).await;
        let welcome = socket.wait("welcome").await;
        let groups = welcome["groups"].as_array().unwrap();
        let own = groups.iter().find(|group| group["group"] == self.group);
        let own = own.unwrap_or_else(|| panic!("not in {welcome}")).clone();
        (socket, own)
    }

    /// The same, and gets all from seq 6 to 8.
    async fn resume(&self, node: &Node) {
        let cursors = json!({ self.group.as_str(): [1, 5] });
        let (mut socket, own) = self.welcome(node.address(), &cursors).await;
        assert_eq!(
            (&own["verdict"], &own["head"]),
            (&json!("ok"), &json!([1, 8]))
        );
        assert_eq!((&own["unread"], &own["mentions"]), (&json!(4), &json!(2)));
        assert_eq!(seqs(&socket.events(&self.group, 3).await), [6, 7, 8]);
    }
}

async fn a_warm_resume_asks_neither_directory_nor_message_store(place: Place) {
    let mut environment = place.environment_of(Path::new("unused"));
    environment.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let house = House::new(environment);
    let (one, other) = (house.start("one").await, house.start("other").await);
    let pair = Pair::at(one.address()).await;
    let mut owner = Socket::hello_at(one.address(), &pair.owner, "web-1", &json!({})).await;
    found(&pair.owner, "二群", &[&pair.member]).await;
    for _ in 0..3 {
        pair.say(&mut owner, json!([])).await;
    }
    drop(pair.welcome(one.address(), &json!({})).await);
    pair.read(4).await;
    pair.say(&mut owner, json!([pair.member.id])).await;
    pair.say(&mut owner, json!("all")).await;
    pair.say(&mut owner, json!([])).await;
    assert_eq!(pair.unread().await, (4, 2));
    // Cards know it a little later, and so does the log what is stored.
    eventually(DEADLINE, async || {
        let (_, own) = pair.welcome(one.address(), &json!({})).await;
        counts(&own) == (4, 2) && own["stored"] == own["head"]
    })
    .await;

    let by_card = "qunliu_socket_arrivals_total{by=\"card\"}";
    for (name, node) in [("one.log", &one), ("other.log", &other)] {
        let before = node.metric(by_card).await;
        let mut meter = Meter::new(&place, house.file(name)).await;
        meter.of(pair.resume(node)).await;
        assert_eq!(node.metric(by_card).await, before + 1.0);
        let asked = meter.statements.iter().map(String::as_str);
        assert_eq!(beyond(asked, &STATEMENTS), [""; 0]);
        let asked = meter.operations.iter().map(String::as_str);
        assert_eq!(beyond(asked, &OPERATIONS), [""; 0]);
    }
}

/// Unread and mentions of a group, as they are told.
fn counts(own: &Value) -> (u64, u64) {
    (
        own["unread"].as_u64().unwrap(),
        own["mentions"].as_u64().unwrap(),
    )
}

/// What was asked that begins with none of these.
fn beyond<'a>(asked: impl Iterator<Item = &'a str>, known: &[&str]) -> Vec<&'a str> {
    asked
        .filter(|text| !known.iter().any(|known| text.starts_with(known)))
        .collect()
}

async fn counts_are_right_whatever_happened_since_the_last_time(place: Place) {
    let server = place.serve(&[]).await;
    let pair = Pair::at(server.address).await;
    let mut owner = Socket::greeted(&server, &pair.owner, "web-1").await;
    pair.say(&mut owner, json!([])).await;
    drop(pair.welcome(server.address, &json!({})).await);
    let check = async || {
        wait_for("the welcome tells what REST tells", async || {
            let (_, own) = pair.welcome(server.address, &json!({})).await;
            (counts(&own) == pair.unread().await).then_some(own)
        })
        .await
    };
    pair.say(&mut owner, json!("all")).await;
    check().await;
    // A mark, on this card as everywhere.
    pair.read(4).await;
    assert_eq!(check().await["unread"], 0);
    // Another role, another name, another group, and out of the first.
    let member = format!("{}/members/{}", pair.path(), pair.member.id);
    let role = json!({"role": "admin"});
    pair.owner.client.patch(&member, &role).await.ok();
    assert_eq!(check().await["role"], "admin");
    let name = json!({"display_name": "韩梅梅"});
    pair.member.client.patch("/v1/me", &name).await.ok();
    let second = found(&pair.owner, "二群", &[&pair.member]).await;
    let mut socket = Socket::hello(&server, &pair.member, "web-1", &json!({})).await;
    let told = socket.wait("welcome").await;
    assert_eq!(told["user"]["display_name"], "韩梅梅");
    assert_eq!(told["groups"].as_array().unwrap().len(), 2, "{told}");
    pair.owner.client.delete(&member).await.no_content();
    let mut socket = Socket::hello(&server, &pair.member, "web-2", &json!({})).await;
    let told = socket.wait("welcome").await;
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{told}");
    assert_eq!(groups[0]["group"], second);
}
