//! Adding, appointing, removing and leaving, by rank.

use serde_json::{Value, json};

use crate::support::server::{Answer, Person, TestServer};

/// A group with someone of each role, and one who is not in it.
struct Cast {
    server: TestServer,
    owner: Person,
    admin: Person,
    member: Person,
    guest: Person,
    stranger: Person,
    group: String,
}

impl Cast {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let owner = server.register("owner").await;
        let admin = server.register("admin").await;
        let member = server.register("member").await;
        let guest = server.register("guest").await;
        let stranger = server.register("stranger").await;
        let group = owner.found("群", &[&admin, &member]).await;
        let cast = Self {
            server,
            owner,
            admin,
            member,
            guest,
            stranger,
            group,
        };
        cast.appoint(&cast.owner, &cast.admin, "admin").await.ok();
        cast.add(&cast.owner, &[&cast.guest], "guest")
            .await
            .created();
        cast
    }

    async fn add(&self, actor: &Person, users: &[&Person], role: &str) -> Answer {
        let users: Vec<_> = users.iter().map(|user| &user.id).collect();
        let body = json!({"users": users, "role": role});
        actor
            .client
            .post(&format!("{}/members", self.group), &body)
            .await
    }

    async fn appoint(&self, actor: &Person, user: &Person, role: &str) -> Answer {
        let path = format!("{}/members/{}", self.group, user.id);
        actor.client.patch(&path, &json!({"role": role})).await
    }

    async fn remove(&self, actor: &Person, user: &Person) -> Answer {
        actor
            .client
            .delete(&format!("{}/members/{}", self.group, user.id))
            .await
    }

    async fn leave(&self, actor: &Person) -> Answer {
        actor
            .client
            .post(&format!("{}/leave", self.group), &json!({}))
            .await
    }

    /// Names and roles, by name.
    async fn roles(&self) -> Vec<(String, String)> {
        let path = format!("{}/members", self.group);
        let page = self.owner.client.get(&path).await.ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap().iter();
        let mut roles: Vec<_> = items
            .map(|item| (text(&item["user"]["name"]), text(&item["role"])))
            .collect();
        roles.sort();
        roles
    }
}

fn pairs(roles: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = roles
        .iter()
        .map(|(name, role)| ((*name).to_owned(), (*role).to_owned()));
    let mut pairs: Vec<_> = owned.collect();
    pairs.sort();
    pairs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_people_are_answered_with_where_they_joined() {
    let cast = Cast::new().await;
    let answer = cast
        .add(
            &cast.admin,
            &[&cast.member, &cast.stranger, &cast.stranger],
            "member",
        )
        .await;
    let items = answer.created()["items"].clone();
    assert_eq!(items.as_array().map(Vec::len), Some(2));
    assert_eq!(items[0]["user"]["name"], "member");
    assert_eq!(
        items[0]["pos"],
        json!([1, 3]),
        "already there: where she joined"
    );
    assert_eq!(
        (&items[1]["role"], &items[1]["pos"]),
        (&json!("member"), &json!([1, 6]))
    );
    let seen = cast.stranger.client.get(&cast.group).await.ok();
    assert_eq!(
        (&seen["members"], &seen["head"]),
        (&json!(5), &json!([1, 6]))
    );
    let everyone = [
        ("owner", "owner"),
        ("admin", "admin"),
        ("member", "member"),
        ("guest", "guest"),
        ("stranger", "member"),
    ];
    assert_eq!(cast.roles().await, pairs(&everyone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_unknown_person_nobody_is_added() {
    let cast = Cast::new().await;
    let unknown = format!("u_{}", "0".repeat(32));
    let body = json!({"users": [cast.stranger.id, unknown]});
    let path = format!("{}/members", cast.group);
    cast.owner
        .client
        .post(&path, &body)
        .await
        .problem(404, "not_found");
    cast.stranger
        .client
        .get(&cast.group)
        .await
        .problem(404, "not_found");
    cast.owner
        .client
        .post(&path, &json!({"users": []}))
        .await
        .names_field("users");
    let many = vec![cast.stranger.id.as_str(); 201];
    cast.owner
        .client
        .post(&path, &json!({"users": many}))
        .await
        .names_field("users");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_not_added_where_they_must_be_invited() {
    let server = TestServer::start_with(&[("QUNLIU_GROUPS_ADD_WITHOUT_INVITE", "false")]).await;
    let owner = server.register("owner").await;
    let stranger = server.register("stranger").await;
    let group = owner.found("群", &[]).await;
    let body = json!({"users": [stranger.id]});
    owner
        .client
        .post(&format!("{group}/members"), &body)
        .await
        .problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_acts_on_an_equal_or_a_higher_rank() {
    let cast = Cast::new().await;
    let Cast {
        owner,
        admin,
        member,
        guest,
        stranger,
        ..
    } = &cast;
    let refused = [
        cast.add(member, &[stranger], "member").await,
        cast.add(guest, &[stranger], "guest").await,
        cast.add(admin, &[stranger], "admin").await,
        cast.add(owner, &[stranger], "owner").await,
        cast.remove(admin, owner).await,
        cast.remove(admin, admin).await,
        cast.remove(owner, owner).await,
        cast.remove(member, guest).await,
        cast.appoint(admin, member, "guest").await,
        cast.appoint(owner, member, "owner").await,
        cast.appoint(owner, owner, "member").await,
        cast.appoint(member, member, "admin").await,
    ];
    for (index, answer) in refused.iter().enumerate() {
        assert_eq!(answer.status, 403, "case {index}: {answer:?}");
        answer.problem(403, "forbidden");
    }
    let unchanged = [
        ("owner", "owner"),
        ("admin", "admin"),
        ("member", "member"),
        ("guest", "guest"),
    ];
    assert_eq!(cast.roles().await, pairs(&unchanged));
    assert_eq!(cast.server.anyone().get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_removed_is_out_at_once() {
    let cast = Cast::new().await;
    assert_eq!(cast.member.client.get(&cast.group).await.status, 200);
    cast.remove(&cast.admin, &cast.member).await.no_content();
    cast.member
        .client
        .get(&cast.group)
        .await
        .problem(404, "not_found");
    assert_eq!(
        cast.member.client.get("/v1/groups").await.ok()["items"],
        json!([])
    );
    cast.remove(&cast.admin, &cast.member)
        .await
        .problem(404, "not_found");
    let back = cast
        .add(&cast.owner, &[&cast.member], "member")
        .await
        .created();
    assert_eq!(back["items"][0]["pos"], json!([1, 7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_role_counts_at_once() {
    let cast = Cast::new().await;
    let rename = json!({"name": "新名"});
    cast.member
        .client
        .patch(&cast.group, &rename)
        .await
        .problem(403, "forbidden");
    let appointed = cast.appoint(&cast.owner, &cast.member, "admin").await.ok();
    assert_eq!(
        (&appointed["role"], &appointed["pos"]),
        (&json!("admin"), &json!([1, 3]))
    );
    cast.member.client.patch(&cast.group, &rename).await.ok();
    cast.appoint(&cast.owner, &cast.member, "guest").await.ok();
    cast.member
        .client
        .patch(&cast.group, &rename)
        .await
        .problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_may_leave_but_the_last_owner() {
    let cast = Cast::new().await;
    for leaver in [&cast.guest, &cast.member, &cast.admin] {
        cast.leave(leaver).await.no_content();
        leaver
            .client
            .get(&cast.group)
            .await
            .problem(404, "not_found");
        cast.leave(leaver).await.problem(404, "not_found");
    }
    cast.leave(&cast.owner).await.problem(409, "conflict");
    assert_eq!(cast.roles().await, pairs(&[("owner", "owner")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_listed_page_by_page() {
    let cast = Cast::new().await;
    let list = async |query: &str| {
        let path = format!("{}/members?{query}", cast.group);
        cast.guest.client.get(&path).await.ok()
    };
    let mut seen = Vec::new();
    let mut query = "limit=3".to_owned();
    loop {
        let page = list(&query).await;
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("limit=3&cursor={next}");
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(Value::Array(seen), list("").await["items"]);
}
