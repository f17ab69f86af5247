//! Groups of very many members: what a message, an arrival, a page or a change of members asks of
//! the stores is the same as in a group of ten.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::support::eventually;
use crate::support::node::{House, Node};
use crate::support::place::Place;
use crate::support::server::Person;
use crate::support::socket::{Socket, text};
use crate::support::work::{Meter, SETTINGS, Work, plans};

flow!(
    both: [
        what_one_thing_asks_of_the_stores_does_not_grow_with_the_group,
    ],
    embedded: [],
    services: [],
);

/// Members of the large group, which is all that it may have, and of the small one.
const LARGE: usize = 10_000;
const SMALL: usize = 10;

/// People in one call that adds some, of 200 that may be.
const CALL: usize = 50;

/// How much more, of anything, one thing may cost in the large group: enough for a fuller page, for
/// a little that runs in the background, and for batches that are cut otherwise.
const SLACK: u64 = 150;

/// How much more it may cost the first time, when nothing is remembered and all of the background falls
/// into it, on a busy machine a look at all 256 partitions several times: a third of the members.
const FIRST_SLACK: u64 = 3_000;

/// How often each thing is done. What runs in the background, as a look at every partition now and
/// then, only adds: the least of each count is what counts.
const TIMES: usize = 3;

/// What is done in each group.
const THINGS: [&str; 10] = [
    "a message",
    "a message to all",
    "a page of members",
    "a welcome from the directory",
    "a welcome from a card",
    "a person joins and goes",
    "the last owner would leave",
    "the list of one's groups",
    "names of people",
    "who is here",
];

/// A group and those of it who have accounts of their own.
struct Party {
    address: SocketAddr,
    owner: Person,
    members: Vec<Person>,
    group: String,
    /// Somebody who is no member.
    spare: String,
    /// Some who are.
    known: String,
}

impl Party {
    fn path(&self) -> String {
        format!("/v1/groups/{}", self.group)
    }

    async fn socket(&self, person: &Person, device: &str) -> Socket {
        let mut socket = Socket::hello_at(self.address, person, device, &json!({})).await;
        socket.wait("welcome").await;
        socket
    }

    async fn send(&self, socket: &mut Socket, mentions: &serde_json::Value) {
        let mut frame = text(&self.group, "在吗");
        frame["mentions"] = mentions.clone();
        let accepted = socket.ask(&frame).await;
        assert_eq!(accepted["type"], "accepted", "{accepted}");
        socket
            .take(|frame| frame["pos"] == accepted["pos"] && frame["type"] == "stored")
            .await;
    }

    async fn does(&self, thing: &str, number: usize, socket: &mut Socket) {
        let (client, path) = (&self.owner.client, self.path());
        match thing {
            "a message" => self.send(socket, &json!([])).await,
            "a message to all" => self.send(socket, &json!("all")).await,
            "a page of members" => {
                let page = client.get(&format!("{path}/members?limit=50")).await.ok();
                assert!(page["items"].as_array().unwrap().len() >= SMALL);
            }
            "a welcome from the directory" | "a welcome from a card" => {
                drop(self.socket(&self.members[number], "web-1").await);
            }
            "a person joins and goes" => {
                let added = json!({"users": [self.spare]});
                client
                    .post(&format!("{path}/members"), &added)
                    .await
                    .created();
                let member = format!("{path}/members/{}", self.spare);
                client.delete(&member).await.no_content();
            }
            "the last owner would leave" => {
                let left = client.post(&format!("{path}/leave"), &json!({})).await;
                assert_eq!(left.status, 409, "{left:?}");
            }
            "the list of one's groups" => {
                self.members[number].client.get("/v1/groups").await.ok();
            }
            "names of people" => {
                let names = format!("/v1/users?ids={}", self.known);
                let names = self.members[number].client.get(&names).await.ok();
                assert!(!names["items"].as_array().unwrap().is_empty());
            }
            "who is here" => {
                client.get(&format!("{path}/presence")).await.ok();
            }
            other => panic!("nobody knows how to do {other}"),
        }
    }

    /// What each thing costs: the first time, and at least.
    async fn costs(&self, meter: &mut Meter) -> Vec<[Work; 2]> {
        let mut socket = self.socket(&self.owner, "web-1").await;
        let mut costs = Vec::new();
        for thing in THINGS {
            let first = meter.of(self.does(thing, 0, &mut socket)).await;
            let mut least = first;
            for number in 1..TIMES {
                least = least.least(meter.of(self.does(thing, number, &mut socket)).await);
            }
            costs.push([first, least]);
        }
        costs
    }
}

/// PostgreSQL syncs nothing: this is not about crashes, and ten thousand people join.
async fn hurry(place: &Place) {
    if !place.is_embedded() {
        let url: sqlx::postgres::PgConnectOptions =
            place.key("QUNLIU_STORES_POSTGRES").parse().unwrap();
        let name = url.get_database().unwrap().to_owned();
        let mut connection = url.connect().await.unwrap();
        let set = format!("ALTER DATABASE {name} SET synchronous_commit = off");
        let set = sqlx::query(AssertSqlSafe(set));
        set.execute(&mut connection).await.unwrap();
    }
}

/// Accounts that nobody can log in to, as many as fill the large group: their ids are their numbers.
async fn populate(place: &Place, house: &House) -> Vec<String> {
    let columns = "INSERT INTO users (id, name, display_name, password_hash, created_at)";
    if place.is_embedded() {
        let file = house.file("node").join("qunliu.sqlite");
        let file = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut connection = file.connect().await.unwrap();
        let rows = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LARGE})
             {columns} SELECT CAST(printf('%016d', i) AS BLOB), 'user' || i, 'user', 'x', 0 FROM n"
        );
        let rows = sqlx::query(AssertSqlSafe(rows));
        rows.execute(&mut connection).await.unwrap();
    } else {
        let url: sqlx::postgres::PgConnectOptions =
            place.key("QUNLIU_STORES_POSTGRES").parse().unwrap();
        let mut connection = url.connect().await.unwrap();
        let rows = format!(
            "{columns} SELECT lpad(i::text, 16, '0')::bytea, 'user' || i, 'user', 'x', 0
             FROM generate_series(1, {LARGE}) AS i"
        );
        let rows = sqlx::query(AssertSqlSafe(rows));
        rows.execute(&mut connection).await.unwrap();
    }
    let hex = |text: String| {
        text.bytes()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    (1..=LARGE)
        .map(|i| format!("u_{}", hex(format!("{i:016}"))))
        .collect()
}

/// A group of `size`, of whom some have accounts that can be used.
async fn gather(node: &Node, owner: &Person, name: &str, size: usize, all: &[String]) -> Party {
    let address = node.address();
    let mut members = Vec::new();
    for number in 0..TIMES {
        members.push(Person::register(address, &format!("{name}.{number}")).await);
    }
    let found =
        json!({"name": name, "members": members.iter().map(|one| &one.id).collect::<Vec<_>>()});
    let group = owner.client.post("/v1/groups", &found).await.created();
    let group = group["id"].as_str().unwrap().to_owned();
    let people = &all[..size - 1 - TIMES];
    let path = format!("/v1/groups/{group}/members");
    let calls = stream::iter(people.chunks(CALL)).for_each_concurrent(2, |some| {
        let path = &path;
        async move {
            let added = json!({"users": some});
            // On a loaded machine somebody may have to wait, and is a member all the same.
            let answered = owner.client.post(path, &added).await.status;
            assert!([201, 503].contains(&answered), "{answered}");
        }
    });
    calls.await;
    eventually(Duration::from_secs(60), async || {
        let told = owner.client.get(&format!("/v1/groups/{group}")).await.ok();
        told["members"] == size
    })
    .await;
    Party {
        address,
        owner: owner.clone(),
        members,
        group,
        spare: all[LARGE - 1].clone(),
        known: all[..people.len().min(6)].join(","),
    }
}

async fn what_one_thing_asks_of_the_stores_does_not_grow_with_the_group(place: Place) {
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut environment = place.environment_of(&std::path::PathBuf::from("unused"));
    environment.extend(settings);
    let house = House::new(environment);
    hurry(&place).await;
    let node = house.start("node").await;
    let owner = Person::register(node.address(), "li.lei").await;
    let all = populate(&place, &house).await;
    let small = gather(&node, &owner, "small", SMALL, &all).await;
    let large = gather(&node, &owner, "large", LARGE - 1, &all).await;

    let mut meter = Meter::new(&place, house.file("node.log")).await;
    let in_small = small.costs(&mut meter).await;
    let in_large = large.costs(&mut meter).await;
    for ((thing, small), large) in THINGS.iter().zip(in_small).zip(in_large) {
        for ((small, large), slack) in small.iter().zip(&large).zip([FIRST_SLACK, SLACK]) {
            for ((what, of_small), (_, of_large)) in small.counts().into_iter().zip(large.counts())
            {
                assert!(
                    of_large <= of_small + slack,
                    "{thing}: {of_large} {what}, {of_small} in a small group"
                );
            }
        }
    }
    if place.is_embedded() {
        let file = house.file("node").join("qunliu.sqlite");
        for (step, statement) in plans(&file, &meter.statements).await {
            assert!(!walks_a_group(&step), "{step}: {statement}");
        }
    }
    // What is full takes no more, and stays as it is.
    let path = format!("{}/members", large.path());
    let last = json!({"users": [large.spare]});
    owner.client.post(&path, &last).await.created();
    let more = json!({"users": [all[LARGE - 2]]});
    assert_eq!(owner.client.post(&path, &more).await.status, 409);
    let told = owner.client.get(&large.path()).await.ok();
    assert_eq!(told["members"], LARGE);
}

/// Whether a step of a plan reads a table, or all members of a group, one by one.
fn walks_a_group(step: &str) -> bool {
    // Of these indexes only a few rows of a group are ever part.
    let of_few = ["members_owners", "outbox_due", "outbox_unappended"];
    // The large tables, as the statements call them.
    let large = [
        "members", "m", "mine", "theirs", "users", "u", "outbox", "due", "older", "events",
        "groups", "g",
    ];
    let scanned = step
        .strip_prefix("SCAN ")
        .and_then(|rest| rest.split(' ').next());
    let reads_all = scanned.is_some_and(|table| large.contains(&table));
    let reads_group = step.ends_with("(merchant_id=? AND group_id=?)");
    (reads_all || reads_group) && !of_few.iter().any(|index| step.contains(index))
}
