//! Founding, listing, reading and renaming groups.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::server::TestServer;

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|group| group["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staff_found_a_group_and_everyone_in_it_sees_it() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let member = server.register("han.meimei").await;
    let body = json!({"name": "老街面馆 1 群", "members": [member.id, member.id, owner.id]});
    let answer = owner.client.post("/v1/groups", &body).await;
    let group = answer.created();
    assert_eq!(
        answer.header("location"),
        format!("/v1/groups/{}", group["id"].as_str().unwrap())
    );
    assert_eq!(
        (&group["role"], &group["members"]),
        (&json!("owner"), &json!(2))
    );
    assert_eq!(
        (&group["head"], &group["unread"]),
        (&json!([1, 2]), &json!(0))
    );
    let seen = member.client.get(answer.header("location")).await.ok();
    assert_eq!(
        (&seen["name"], &seen["role"]),
        (&json!("老街面馆 1 群"), &json!("member"))
    );
    assert_eq!(
        names(&member.client.get("/v1/groups").await.ok()),
        ["老街面馆 1 群"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_staff_found_groups_and_only_for_their_merchant() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let customer = server.register("han.meimei").await;
    let body = json!({"name": "我的群"});
    customer
        .client
        .post("/v1/groups", &body)
        .await
        .problem(403, "forbidden");
    let me = owner.client.get("/v1/me").await.ok();
    let mut named = json!({"name": "我的群", "merchant": me["merchants"][0]["id"]});
    owner.client.post("/v1/groups", &named).await.created();
    customer
        .client
        .post("/v1/groups", &named)
        .await
        .problem(404, "not_found");
    named["merchant"] = json!(format!("t_{}", "0".repeat(32)));
    owner
        .client
        .post("/v1/groups", &named)
        .await
        .problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_with_an_unknown_person_is_not_made() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let body = json!({"name": "群", "members": [format!("u_{}", "0".repeat(32))]});
    owner
        .client
        .post("/v1/groups", &body)
        .await
        .problem(404, "not_found");
    assert_eq!(names(&owner.client.get("/v1/groups").await.ok()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_shows_newest_activity_first_page_by_page() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let mut groups = Vec::new();
    for name in ["一", "二", "三", "四", "五"] {
        groups.push(owner.found(name, &[]).await);
        server.clock.advance(1000);
    }
    owner
        .client
        .patch(&groups[1], &json!({"name": "二号"}))
        .await
        .ok();
    let mut seen = Vec::new();
    let mut path = "/v1/groups?limit=2".to_owned();
    loop {
        let answer = owner.client.get(&path).await;
        let page = answer.ok();
        seen.extend(names(&page).iter().map(|name| (*name).to_owned()));
        let Some(next) = page["next"].as_str() else {
            assert_eq!(answer.header("link"), "");
            break;
        };
        path = format!("/v1/groups?limit=2&cursor={next}");
        assert_eq!(answer.header("link"), format!("<{path}>; rel=\"next\""));
    }
    assert_eq!(seen, ["二号", "五", "四", "三", "一"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_serves_only_the_one_it_was_given_to() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let member = server.register("han.meimei").await;
    for name in ["一", "二"] {
        owner.found(name, &[&member]).await;
    }
    let page = owner.client.get("/v1/groups?limit=1").await.ok();
    let cursor = page["next"].as_str().unwrap();
    let path = format!("/v1/groups?limit=1&cursor={cursor}");
    assert_eq!(names(&owner.client.get(&path).await.ok()).len(), 1);
    member.client.get(&path).await.names_field("cursor");
    owner
        .client
        .get(&format!("{path}A"))
        .await
        .names_field("cursor");
    owner
        .client
        .get("/v1/groups?cursor=")
        .await
        .names_field("cursor");
    for limit in ["0", "201", "x", "-1", ""] {
        owner
            .client
            .get(&format!("/v1/groups?limit={limit}"))
            .await
            .names_field("limit");
    }
    owner
        .client
        .get("/v1/groups?limit=1&limit=2")
        .await
        .names_field("limit");
    owner
        .client
        .get("/v1/groups?page=2")
        .await
        .names_field("page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_name_is_an_event_and_the_same_name_is_none() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let member = server.register("han.meimei").await;
    let group = owner.found("旧名", &[&member]).await;
    let renamed = owner
        .client
        .patch(&group, &json!({"name": " 新名 "}))
        .await
        .ok();
    assert_eq!(
        (&renamed["name"], &renamed["head"]),
        (&json!("新名"), &json!([1, 3]))
    );
    let again = owner
        .client
        .patch(&group, &json!({"name": "新名"}))
        .await
        .ok();
    assert_eq!(again["head"], json!([1, 3]));
    member
        .client
        .patch(&group, &json!({"name": "别的"}))
        .await
        .problem(403, "forbidden");
    assert_eq!(member.client.get(&group).await.ok()["name"], "新名");
    for wrong in ["", "  ", &"字".repeat(65), "a\0b"] {
        owner
            .client
            .patch(&group, &json!({"name": wrong}))
            .await
            .names_field("name");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_is_stored_soon() {
    let server = TestServer::start().await;
    let owner = server.register("li.lei").await;
    let group = owner.found("群", &[]).await;
    eventually(Duration::from_secs(10), async || {
        let state = owner.client.get(&group).await.ok();
        state["stored"] == state["head"]
    })
    .await;
}
