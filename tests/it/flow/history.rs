//! Reading a group's history: `pull` and the pages of REST.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::place::Place;
use crate::support::scene::Scene;
use crate::support::socket::{DEADLINE, Socket, assert_dense, seq, seqs, text};

flow!(
    pulls_walk_the_whole_group_in_both_directions,
    pages_walk_the_whole_group_in_both_directions,
    a_walk_is_stable_while_others_write,
    bounds_that_make_no_sense_are_named,
    a_page_says_what_it_covers_and_how_far_the_group_is,
);

/// A group of `messages` messages behind its two `joined` events.
async fn written(place: &Place, messages: usize) -> (Scene, Socket) {
    let scene = Scene::on(place).await;
    let mut owner = scene.socket(&scene.owner, "writing").await;
    write(&scene, &mut owner, messages).await;
    (scene, owner)
}

async fn write(scene: &Scene, socket: &mut Socket, messages: usize) {
    let mut ids = Vec::new();
    for number in 0..messages {
        ids.push(
            socket
                .ask_later(&text(&scene.group, &format!("{number}")))
                .await,
        );
    }
    for id in ids {
        assert_eq!(socket.answer(id).await["type"], "accepted");
    }
}

/// One pull; its events and whether there are more.
async fn pull(socket: &mut Socket, scene: &Scene, bound: &str, at: &Value) -> (Vec<Value>, bool) {
    let mut frame = json!({"type": "pull", "group": scene.group, "limit": 7});
    frame[bound] = at.clone();
    let page = socket.ask(&frame).await;
    assert_eq!(
        (&page["type"], &page["group"]),
        (&json!("page"), &json!(scene.group))
    );
    let events = page["events"].as_array().unwrap().clone();
    (events, page["more"].as_bool().unwrap())
}

async fn pulls_walk_the_whole_group_in_both_directions(place: Place) {
    let (scene, mut owner) = written(&place, 30).await;
    let mut up = Vec::new();
    let mut at = json!([0, 0]);
    loop {
        let (events, more) = pull(&mut owner, &scene, "after", &at).await;
        up.extend(events);
        at = up.last().unwrap()["pos"].clone();
        if !more {
            break;
        }
    }
    assert_dense(&seqs(&up), 1);
    assert_eq!(up.len(), 32);
    assert_eq!(
        pull(&mut owner, &scene, "after", &json!([1, 32])).await,
        (vec![], false)
    );
    let mut down: Vec<Value> = Vec::new();
    let mut at = json!([1, 32]);
    loop {
        let (events, more) = pull(&mut owner, &scene, "before", &at).await;
        at = events[0]["pos"].clone();
        down.splice(0..0, events);
        if !more {
            break;
        }
    }
    assert_eq!(down, up[..31]);
}

/// Walks by `previous` or `next` from a page to the last one; all items in ascending order.
async fn walk(scene: &Scene, from: &str, link: &str, bound: &str) -> Vec<Value> {
    let path = format!("{}/messages", scene.path());
    let mut items: Vec<Value> = Vec::new();
    let mut query = from.to_owned();
    loop {
        let page = scene
            .member
            .client
            .get(&format!("{path}?limit=7{query}"))
            .await
            .ok();
        let found = page["items"].as_array().unwrap().clone();
        let at = if link == "next" { items.len() } else { 0 };
        items.splice(at..at, found);
        let Some(next) = page[link].as_str() else {
            return items;
        };
        query = format!("&{bound}={next}");
    }
}

async fn pages_walk_the_whole_group_in_both_directions(place: Place) {
    let (scene, _owner) = written(&place, 30).await;
    let down = walk(&scene, "", "previous", "before").await;
    let up = walk(&scene, "&after=0-0", "next", "after").await;
    // The member joined by the second event.
    assert_dense(&seqs(&up), 2);
    assert_eq!(up.len(), 31);
    assert_eq!(down, up);
    let middle = scene
        .member
        .client
        .get(&format!("{}/messages?after=1-10&limit=7", scene.path()))
        .await
        .ok();
    assert_eq!(
        (&middle["previous"], &middle["next"]),
        (&json!("1-11"), &json!("1-17"))
    );
}

async fn a_walk_is_stable_while_others_write(place: Place) {
    let (scene, mut owner) = written(&place, 40).await;
    let down = async {
        let path = format!("{}/messages?limit=3", scene.path());
        let first = scene.member.client.get(&path).await.ok();
        let from = first["previous"].as_str().unwrap();
        let head = seq(&first["items"][2]["pos"]);
        let below = walk(&scene, &format!("&before={from}"), "previous", "before").await;
        (head, below)
    };
    let up = walk(&scene, "&after=0-0", "next", "after");
    let ((head, below), up, ()) = tokio::join!(down, up, write(&scene, &mut owner, 60));
    assert_dense(&seqs(&below), 2);
    assert_eq!(below.len() as u64, head - 4);
    assert_dense(&seqs(&up), 2);
    assert_eq!(up[..below.len()], below);
    assert_dense(&seqs(&walk(&scene, "&after=0-0", "next", "after").await), 2);
}

async fn bounds_that_make_no_sense_are_named(place: Place) {
    let (scene, mut owner) = written(&place, 1).await;
    let cases = [
        (json!({}), "after"),
        (json!({"after": [1, 1], "before": [1, 2]}), "after"),
        (json!({"after": [1, 1], "limit": 0}), "limit"),
        (json!({"after": [1, 1], "limit": 201}), "limit"),
        (json!({"after": [1, -1]}), "after"),
        (json!({"after": "1-1"}), "after"),
        (json!({"after": [1, 4]}), ""),
        (json!({"before": [1, 5]}), ""),
        (json!({"after": [9, 1]}), ""),
    ];
    for (bounds, field) in cases {
        let mut frame = json!({"type": "pull", "group": scene.group});
        frame
            .as_object_mut()
            .unwrap()
            .extend(bounds.as_object().unwrap().clone());
        let error = owner.ask(&frame).await;
        assert_eq!(error["code"], "bad_request", "{frame}: {error}");
        let named = error["errors"][0]["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{frame}: {error}");
    }
    let path = format!("{}/messages", scene.path());
    let get = async |query: &str| scene.owner.client.get(&format!("{path}?{query}")).await;
    get("after=1-1&before=1-3").await.names_field("after");
    get("limit=201").await.names_field("limit");
    get("after=1").await.names_field("after");
    get("before=1-x").await.names_field("before");
    for above in ["after=1-4", "before=1-5", "after=9-1"] {
        get(above).await.problem(400, "bad_request");
    }
}

async fn a_page_says_what_it_covers_and_how_far_the_group_is(place: Place) {
    let (scene, _owner) = written(&place, 10).await;
    let path = format!("{}/messages", scene.path());
    eventually(DEADLINE, async || {
        let page = scene
            .owner
            .client
            .get(&format!("{path}?limit=4"))
            .await
            .ok();
        assert_eq!(
            (&page["head"], &page["covers"]),
            (&json!([1, 12]), &json!([[1, 9], [1, 12]]))
        );
        assert_eq!(
            (&page["previous"], &page["next"]),
            (&json!("1-9"), &Value::Null)
        );
        page["stored"] == page["head"]
    })
    .await;
    let body = json!({"client_id": uuid::Uuid::new_v4(), "body": {"kind": "text", "text": "在吗"}});
    let sent = scene.owner.client.post(&path, &body).await;
    let first = sent.sent();
    assert_eq!(first["pos"], json!([1, 13]));
    eventually(DEADLINE, async || {
        let again = scene.owner.client.post(&path, &body).await.ok();
        assert_eq!((&again["id"], &again["pos"]), (&first["id"], &first["pos"]));
        again["receipt"] == "stored"
    })
    .await;
}
