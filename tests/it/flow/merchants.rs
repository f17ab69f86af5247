//! Merchants on one server: whoever belongs to one of three gets no byte of the other two, over
//! whatever path is asked.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::server::{Person, TestServer};
use crate::support::socket::{Socket, text};

flow!(of_three_merchants_nobody_learns_anything_of_another);

/// One merchant: whose it is, who shops there, and where both talk. Everything that it says or is
/// called holds its canary.
struct Merchant {
    canary: String,
    owner: Person,
    customer: Person,
    group: String,
}

impl Merchant {
    async fn new(place: &Place, server: &TestServer, number: usize) -> Self {
        let owner = server.register(&format!("owner.{number}")).await;
        let customer = server.register(&format!("customer.{number}")).await;
        // The first account owns the first merchant; the product makes no further one yet.
        if number > 0 {
            place.make_merchant(server, &owner).await;
        }
        let canary = format!("canary-{number}-{}", uuid::Uuid::new_v4().simple());
        for (person, of) in [(&owner, "o"), (&customer, "c")] {
            let name = json!({"display_name": format!("{canary}-{of}")});
            person.client.patch("/v1/me", &name).await.ok();
        }
        let path = owner.found(&format!("{canary}-g"), &[&customer]).await;
        let said = json!({
            "client_id": uuid::Uuid::new_v4(),
            "body": {"kind": "text", "text": format!("{canary}-m")},
        });
        let sent = owner.client.post(&format!("{path}/messages"), &said).await;
        assert!((200..300).contains(&sent.status), "{sent:?}");
        Self {
            canary,
            owner,
            customer,
            group: path.rsplit('/').next().unwrap().to_owned(),
        }
    }
}

/// All that a person is answered who asks for everything of a merchant.
async fn asked_for(person: &Person, of: &Merchant) -> String {
    let group = format!("/v1/groups/{}", of.group);
    let people = format!("/v1/users?ids={},{}", of.owner.id, of.customer.id);
    let mut heard = String::new();
    for path in [
        "/v1/me",
        "/v1/me/sessions",
        "/v1/groups",
        "/v1/unread",
        &people,
        &group,
        &format!("{group}/members"),
        &format!("{group}/messages"),
        &format!("{group}/messages?after=1-1"),
    ] {
        heard.push_str(&person.client.get(path).await.text);
    }
    heard
}

/// The same over a socket: cursors, pages, everything live.
async fn told_to(socket: &mut Socket, of: &Merchant) -> String {
    let group = &of.group;
    for frame in [
        json!({"type": "pull", "group": group, "after": [0, 0]}),
        json!({"type": "pull", "group": group, "before": [9, 9]}),
        json!({"type": "follow", "groups": {group.as_str(): [1, 1]}, "level": "full"}),
        json!({"type": "read", "group": group, "pos": [1, 1]}),
        text(group, "let me in"),
    ] {
        socket.ask_later(&frame).await;
    }
    socket.settle().await;
    Value::Array(socket.kept()).to_string()
}

/// What changes something of a merchant that is not one's own.
async fn is_refused(person: &Person, of: &Merchant) {
    let group = format!("/v1/groups/{}", of.group);
    let said = json!({
        "client_id": uuid::Uuid::new_v4(), "body": {"kind": "text", "text": "let me in"},
    });
    for (method, path, body) in [
        (Method::PATCH, group.clone(), json!({"name": "mine"})),
        (
            Method::POST,
            format!("{group}/members"),
            json!({"users": [person.id]}),
        ),
        (
            Method::PATCH,
            format!("{group}/members/{}", of.customer.id),
            json!({"role": "admin"}),
        ),
        (Method::POST, format!("{group}/messages"), said),
        (Method::PUT, format!("{group}/read"), json!({"pos": [1, 1]})),
    ] {
        let answer = person.client.json(method, &path, &body.to_string()).await;
        answer.problem(404, "not_found");
    }
    let member = format!("{group}/members/{}", of.customer.id);
    person
        .client
        .delete(&member)
        .await
        .problem(404, "not_found");
}

async fn of_three_merchants_nobody_learns_anything_of_another(place: Place) {
    let server = place.serve(&[]).await;
    let mut merchants = Vec::new();
    for number in 0..3 {
        merchants.push(Merchant::new(&place, &server, number).await);
    }
    let groups = merchants
        .iter()
        .map(|one| (one.group.clone(), json!([1, 1])));
    let cursors = Value::Object(groups.collect());
    for (number, merchant) in merchants.iter().enumerate() {
        let others: Vec<_> = merchants
            .iter()
            .filter(|one| one.group != merchant.group)
            .collect();
        for person in [&merchant.owner, &merchant.customer] {
            let mut socket = Socket::hello(&server, person, "web-1", &cursors).await;
            socket.settle().await;
            let mut heard = Value::Array(socket.kept()).to_string();
            heard.push_str(&asked_for(person, merchant).await);
            for other in &others {
                heard.push_str(&asked_for(person, other).await);
                heard.push_str(&told_to(&mut socket, other).await);
                is_refused(person, other).await;
                // What is said while the socket is open.
                let live = text(&other.group, &format!("{}-live", other.canary));
                let mut speaker = Socket::greeted(&server, &other.owner, "speaker").await;
                let spoken = speaker.ask(&live).await;
                assert_eq!(spoken["type"], "accepted", "{spoken}");
            }
            socket.settle().await;
            heard.push_str(&Value::Array(socket.kept()).to_string());
            for part in ["o", "c", "g", "m"] {
                let own = format!("{}-{part}", merchant.canary);
                assert!(heard.contains(&own), "{number} does not hear its own {own}");
            }
            for other in &others {
                assert!(
                    !heard.contains(&other.canary),
                    "{number} hears {}",
                    other.canary
                );
            }
        }
    }
}
