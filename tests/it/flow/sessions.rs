//! Devices, and how a session ends: on this node at once, on the others within two seconds, and on
//! open sockets too.

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::server::PASSWORD;
use crate::support::session::Session;
use crate::support::socket::{SUBPROTOCOL, Socket};

flow!(
    both: [
        devices_are_listed_and_ended_one_by_one,
        logging_out_everywhere_ends_every_socket_and_token,
        a_new_password_ends_all_other_sessions,
        a_ticket_opens_one_socket_once,
        log_ins_renew_a_hash_that_took_less_work,
    ],
    embedded: [
        a_profile_is_renamed_within_the_bounds_of_a_name,
        a_wrong_or_weak_password_changes_nothing,
    ],
    services: [
        every_end_reaches_sockets_and_requests_of_another_node,
    ],
);

const OTHER_PASSWORD: &str = "another horse battery";

/// Each way to end a session: method, path and body, and whether another session of the same
/// account asks for it.
const ENDS: [(Method, &str, Option<[&str; 2]>, bool); 4] = [
    (Method::POST, "/v1/auth/logout", None, false),
    (Method::POST, "/v1/auth/logout-all", None, true),
    (
        Method::PUT,
        "/v1/me/password",
        Some([PASSWORD, OTHER_PASSWORD]),
        true,
    ),
    (Method::DELETE, "/v1/me/sessions/{session}", None, true),
];

async fn devices_are_listed_and_ended_one_by_one(place: Place) {
    let server = place.serve(&[]).await;
    let first = server.register("li.lei").await;
    let phone = server.log_in("li.lei", PASSWORD, "phone").await;
    let mut socket = Socket::greeted(&server, &phone, "phone").await;
    let stranger = server.register("han.meimei").await;
    let listed = first.client.get("/v1/me/sessions").await.ok();
    let items = listed["items"].as_array().unwrap();
    let named = |device: &str| items.iter().find(|item| item["device"] == device).unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(named("phone")["current"], false);
    assert_eq!(named("")["current"], true);
    assert_eq!(named("phone")["created_at"], named("phone")["renewed_at"]);
    let path = format!("/v1/me/sessions/{}", named("phone")["id"].as_str().unwrap());
    stranger
        .client
        .delete(&path)
        .await
        .problem(404, "not_found");
    assert_eq!(first.client.delete(&path).await.status, 204);
    assert_eq!(socket.closed().await, 4403);
    phone
        .client
        .get("/v1/me")
        .await
        .problem(401, "unauthenticated");
    first.client.delete(&path).await.problem(404, "not_found");
    let refresh = json!({"refresh_token": phone.refresh_token});
    let refreshed = server.anyone().post("/v1/auth/refresh", &refresh).await;
    refreshed.problem(401, "unauthenticated");
    first.client.get("/v1/me").await.ok();
}

async fn logging_out_everywhere_ends_every_socket_and_token(place: Place) {
    let server = place.serve(&[]).await;
    let one = server.register("li.lei").await;
    let two = server.log_in("li.lei", PASSWORD, "phone").await;
    let other = server.register("han.meimei").await;
    let mut sockets = [
        Socket::greeted(&server, &one, "web-1").await,
        Socket::greeted(&server, &two, "phone").await,
    ];
    let mut untouched = Socket::greeted(&server, &other, "web-1").await;
    let ended = one.client.post("/v1/auth/logout-all", &json!({})).await;
    assert_eq!(ended.status, 204);
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 4403);
    }
    for person in [&one, &two] {
        person
            .client
            .get("/v1/me")
            .await
            .problem(401, "unauthenticated");
    }
    untouched.settle().await;
}

async fn a_new_password_ends_all_other_sessions(place: Place) {
    let server = place.serve(&[]).await;
    let here = server.register("li.lei").await;
    let thief = server.log_in("li.lei", PASSWORD, "thief").await;
    let mut socket = Socket::greeted(&server, &thief, "thief").await;
    let mut own = Socket::greeted(&server, &here, "web-1").await;
    let body = json!({"password": PASSWORD, "new_password": OTHER_PASSWORD});
    assert_eq!(here.client.put("/v1/me/password", &body).await.status, 204);
    assert_eq!(socket.closed().await, 4403);
    own.settle().await;
    let old = json!({"name": "li.lei", "password": PASSWORD});
    let refused = server.anyone().post("/v1/auth/login", &old).await;
    refused.problem(401, "unauthenticated");
    server.log_in("li.lei", OTHER_PASSWORD, "phone").await;
}

async fn a_wrong_or_weak_password_changes_nothing(place: Place) {
    let server = place.serve(&[]).await;
    let person = server.register("li.lei").await;
    let put = async |password: &str, new: &str| {
        let body = json!({"password": password, "new_password": new});
        person.client.put("/v1/me/password", &body).await
    };
    let wrong = put("wrong horse battery", OTHER_PASSWORD).await;
    assert_eq!(
        wrong.problem(403, "forbidden")["errors"][0]["field"],
        "password"
    );
    let short = put(PASSWORD, "short").await;
    short.names_field("new_password");
    assert!(short.text.contains("new_password: must be"), "{short:?}");
    put(PASSWORD, "password123")
        .await
        .names_field("new_password");
    server.log_in("li.lei", PASSWORD, "phone").await;
}

async fn a_profile_is_renamed_within_the_bounds_of_a_name(place: Place) {
    let server = place.serve(&[]).await;
    let person = server.register("li.lei").await;
    let renamed = person
        .client
        .patch("/v1/me", &json!({"display_name": " 李雷 "}))
        .await;
    assert_eq!(renamed.ok()["display_name"], "李雷");
    assert_eq!(
        person.client.get("/v1/me").await.ok()["display_name"],
        "李雷"
    );
    let wrong = person
        .client
        .patch("/v1/me", &json!({"display_name": "  "}))
        .await;
    wrong.names_field("display_name");
}

async fn a_ticket_opens_one_socket_once(place: Place) {
    let server = place.serve(&[]).await;
    let person = server.register("li.lei").await;
    let issued = person
        .client
        .post("/v1/auth/ticket", &json!({}))
        .await
        .created();
    assert_eq!(issued["expires_in"], 30);
    let hello = json!({"type": "hello", "ticket": issued["ticket"], "device": "web-1"});
    let open = async |hello: &Value| {
        let mut socket = Socket::open(server.address, &[SUBPROTOCOL]).await.unwrap();
        socket.say(hello).await;
        socket
    };
    let mut first = open(&hello).await;
    assert_eq!(first.wait("welcome").await["user"]["id"], json!(person.id));
    let mut second = open(&hello).await;
    assert_eq!(second.wait("error").await["code"], "unauthenticated");
    assert_eq!(second.closed().await, 4401);
    first.settle().await;

    let late = person
        .client
        .post("/v1/auth/ticket", &json!({}))
        .await
        .created();
    server.clock.advance(30_000);
    let mut third = open(&json!({"type": "hello", "ticket": late["ticket"], "device": "w"})).await;
    assert_eq!(third.closed().await, 4401);
    let mut both = hello.clone();
    both["token"] = json!(person.access_token);
    assert_eq!(
        open(&both).await.wait("error").await["errors"][0]["field"],
        "token"
    );
}

async fn log_ins_renew_a_hash_that_took_less_work(place: Place) {
    let server = place.serve(&[]).await;
    let person = server.register("li.lei").await;
    let params = Params::new(1024, 1, 1, None).unwrap();
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let weak = argon.hash_password(PASSWORD.as_bytes()).unwrap();
    let set = format!("UPDATE users SET password_hash = '{weak}'");
    place.sql(&server, &set).await;
    let devices = ["phone", "tablet"].map(|device| server.log_in("li.lei", PASSWORD, device));
    join_all(devices).await;
    let kept = place.sql(&server, "SELECT password_hash FROM users").await;
    assert!(
        kept[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{kept:?}"
    );
    let wrong = server.try_log_in("li.lei", OTHER_PASSWORD, "phone").await;
    wrong.problem(401, "unauthenticated");
    server.log_in("li.lei", PASSWORD, "watch").await;
    person.client.get("/v1/me").await.ok();
}

async fn every_end_reaches_sockets_and_requests_of_another_node(place: Place) {
    let nodes = [place.serve(&[]).await, place.serve(&[]).await];
    let stranger = nodes[0].register("han.meimei").await;
    let mut untouched = Session::open(&nodes, stranger).await;
    for (index, (method, path, passwords, by_another)) in ENDS.into_iter().enumerate() {
        let name = format!("li.lei-{index}");
        let here = nodes[0].register(&name).await;
        let there = nodes[1].log_in(&name, PASSWORD, "phone").await;
        let client = match by_another {
            true => here.client,
            false => there.client.at(nodes[0].address),
        };
        let listed = there.client.get("/v1/me/sessions").await.ok();
        let mut items = listed["items"].as_array().unwrap().iter();
        let own = items.find(|item| item["current"] == true).unwrap();
        let path = path.replace("{session}", own["id"].as_str().unwrap());
        let body = passwords.map(|[old, new]| json!({"password": old, "new_password": new}));
        let body = body.map_or_else(String::new, |body| body.to_string());
        let mut session = Session::open(&nodes, there).await;
        client.json(method, &path, &body).await.no_content();
        session.is_cut_off().await;
    }
    untouched.goes_on().await;
}
