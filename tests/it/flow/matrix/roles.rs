//! Every role against every action, over REST and over the socket: in a group of one's own, in another
//! one of the same merchant, and in one of another merchant. What the role there does not allow is
//! refused.

use std::collections::BTreeSet;

use qunliu::model::permission::Action;
use qunliu::model::role::Role;
use qunliu::protocol::client::ClientFrame;
use serde_json::{Value, json};

use super::{Asks, call_all, in_a_group};
use crate::support::place::Place;
use crate::support::server::{Person, TestServer};
use crate::support::socket::Socket;

flow!(every_role_may_do_what_it_may_and_nothing_else);

/// A frame of each type, and those of a type that ask for more than others.
const FRAMES: &[&str] = &[
    r#"{"type":"hello","token":"","device":"web-2","cursors":{"{group}":[1,1]}}"#,
    r#"{"type":"send","id":1,"group":"{group}","client_id":"0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f14",
        "body":{"kind":"text","text":"hello"}}"#,
    r#"{"type":"send","id":1,"group":"{group}","client_id":"0190c2f4-7a5b-7c3e-8f1d-2a4b6c8e0f15",
        "body":{"kind":"text","text":"hello"},"mentions":"all"}"#,
    r#"{"type":"read","id":1,"group":"{group}","pos":[1,1]}"#,
    r#"{"type":"pull","id":1,"group":"{group}","after":[0,0]}"#,
    r#"{"type":"follow","id":1,"groups":{"{group}":null},"level":"full"}"#,
    r#"{"type":"typing","group":"{group}"}"#,
    r#"{"type":"token","id":1,"token":""}"#,
];

/// What a frame asks to do in its group; nothing for one that names none.
const fn action(frame: &ClientFrame) -> Option<Action> {
    match frame {
        ClientFrame::Send(send) if send.mentions.is_all() => Some(Action::MentionAll),
        ClientFrame::Send(_) | ClientFrame::Typing(_) => Some(Action::Send),
        ClientFrame::Hello(_)
        | ClientFrame::Read(_)
        | ClientFrame::Pull(_)
        | ClientFrame::Follow(_) => Some(Action::Read),
        ClientFrame::Token(_) => None,
    }
}

/// Somebody, and the role in each of the groups.
struct Actor {
    person: Person,
    /// A member of every group, for this one to act on.
    other: Person,
    roles: [Option<Role>; 3],
}

/// A server with three groups: two of one merchant, one of another.
struct Stage {
    server: TestServer,
    groups: [String; 3],
    actors: Vec<Actor>,
}

impl Stage {
    async fn on(place: &Place) -> Self {
        let server = place.serve(&[]).await;
        let owner = server.register("li.lei").await;
        let stranger = server.register("stranger").await;
        place.make_merchant(&server, &stranger).await;
        let mut people = Vec::new();
        for name in ["guest", "member", "admin", "nobody", "owner"] {
            people.push(match name {
                "owner" => owner.clone(),
                _ => server.register(name).await,
            });
        }
        let mut others = Vec::new();
        for number in 0..people.len() {
            others.push(server.register(&format!("other.{number}")).await);
        }
        let others_of: Vec<&Person> = others.iter().collect();
        let own = [&others_of[..], &people[..3].iter().collect::<Vec<_>>()].concat();
        let paths = [
            owner.found("一群", &own).await,
            owner.found("二群", &others_of).await,
            stranger.found("三群", &others_of).await,
        ];
        for (person, role) in people.iter().zip(["guest", "member", "admin"]) {
            let path = format!("{}/members/{}", paths[0], person.id);
            let role = json!({"role": role});
            owner.client.patch(&path, &role).await.ok();
        }
        let roles = [
            [Some(Role::Guest), None, None],
            [Some(Role::Member), None, None],
            [Some(Role::Admin), None, None],
            [None; 3],
            [Some(Role::Owner), Some(Role::Owner), None],
        ];
        let actors = people.into_iter().zip(others).zip(roles);
        let actors = actors.map(|((person, other), roles)| Actor {
            person,
            other,
            roles,
        });
        Self {
            actors: actors.collect(),
            groups: paths.map(|path| path.rsplit('/').next().unwrap().to_owned()),
            server,
        }
    }

    /// The code of the refusal of a frame, if it is refused.
    async fn refusal(&self, person: &Person, frame: &Value, group: &str) -> Option<String> {
        let mut socket;
        let answer = match frame["type"].as_str().unwrap() {
            "hello" => {
                socket = Socket::hello(&self.server, person, "web-2", &frame["cursors"]).await;
                socket.wait("welcome").await
            }
            // Not answered unless it is refused.
            "typing" => {
                socket = Socket::greeted(&self.server, person, "web-1").await;
                socket.say(frame).await;
                socket.settle().await;
                let mut told = socket.kept().into_iter();
                told.find(|frame| frame["type"] == "error")
                    .unwrap_or_default()
            }
            _ => {
                socket = Socket::greeted(&self.server, person, "web-1").await;
                socket.ask(frame).await
            }
        };
        // A group that one is not in is gone, as one that does not exist.
        let mut verdicts = answer["groups"].as_array().into_iter().flatten();
        let is_gone = verdicts.any(|state| state["group"] == group && state["verdict"] == "gone");
        match is_gone {
            true => Some("not_found".to_owned()),
            false => answer["code"].as_str().map(str::to_owned),
        }
    }
}

/// The code of the refusal that the table of permissions wants.
fn wanted(action: Action, role: Option<Role>) -> Option<&'static str> {
    match role {
        None => Some("not_found"),
        Some(role) if action.is_allowed_to(role) => None,
        Some(_) => Some("forbidden"),
    }
}

async fn every_role_may_do_what_it_may_and_nothing_else(place: Place) {
    let stage = Stage::on(&place).await;
    let mut names = BTreeSet::new();
    for actor in &stage.actors {
        for (group, role) in stage.groups.iter().zip(actor.roles) {
            for frame in FRAMES {
                let text = frame.replace("{group}", group);
                let parsed = ClientFrame::parse(&text).unwrap();
                names.insert(parsed.name().to_owned());
                let Some(action) = action(&parsed) else {
                    continue;
                };
                let frame = serde_json::from_str(&text).unwrap();
                let refusal = stage.refusal(&actor.person, &frame, group).await;
                assert_eq!(refusal.as_deref(), wanted(action, role), "{role:?}: {text}");
            }
            let (client, other) = (&actor.person.client, &actor.other.id);
            for (path, asks, answer) in call_all(client, in_a_group, group, other).await {
                let Asks::Standing(action) = asks else {
                    continue;
                };
                // The last owner may leave by rank, but not before the group is handed over.
                let code = (answer.status >= 400 && answer.status != 409)
                    .then(|| answer.body()["code"].as_str().unwrap().to_owned());
                assert_eq!(
                    code.as_deref(),
                    wanted(action, role),
                    "{role:?}: {path}: {answer:?}"
                );
            }
        }
    }
    let mut socket =
        Socket::hello(&stage.server, &stage.actors[0].person, "web-1", &json!({})).await;
    let welcome = socket.wait("welcome").await;
    let mut served: BTreeSet<String> = serde_json::from_value(welcome["features"].clone()).unwrap();
    served.insert("hello".to_owned());
    assert_eq!(names, served, "a frame of each type is in the table");
}
