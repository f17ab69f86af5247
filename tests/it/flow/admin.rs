//! What an operator does to accounts and keys with `qunliu admin`, beside running nodes: it reaches
//! every one of them, and nobody else notices.

use crate::support::place::Place;
use crate::support::process::wait_for;
use crate::support::program::{Ended, run};
use crate::support::server::{PASSWORD, Person, TestServer};
use crate::support::session::Session;

flow!(
    a_reset_password_ends_every_session_and_only_the_fresh_one_is_taken,
    a_disabled_account_is_cut_off_until_it_is_enabled,
    an_unknown_name_is_told_and_nothing_is_done,
    a_fresh_secret_is_taken_beside_the_last_and_disconnects_nobody,
);

/// Nodes on one place: two where they share their stores. An account on them, and another one that
/// nothing happens to.
struct Stage {
    nodes: Vec<TestServer>,
    environment: Vec<(String, String)>,
    account: Session,
    bystander: Session,
}

impl Stage {
    async fn on(place: &Place) -> Self {
        let mut nodes = vec![place.serve(&[]).await];
        if !place.is_embedded() {
            nodes.push(place.serve(&[]).await);
        }
        let person = nodes[0].register("li.lei").await;
        let other = nodes[0].register("han.meimei").await;
        Self {
            environment: place.environment(&nodes[0]),
            account: Session::open(&nodes, person).await,
            bystander: Session::open(&nodes, other).await,
            nodes,
        }
    }

    async fn admin(&self, arguments: &[&str]) -> Ended {
        run(&[&["admin"], arguments].concat(), &self.environment).await
    }
}

async fn a_reset_password_ends_every_session_and_only_the_fresh_one_is_taken(place: Place) {
    let mut stage = Stage::on(&place).await;
    let reset = stage.admin(&["reset-password", "li.lei"]).await.with(0);
    stage.account.is_cut_off().await;
    let fresh = reset.out.trim_end();
    assert_eq!((fresh.len(), reset.out.lines().count()), (32, 1));
    assert!(
        !reset.err.contains(fresh),
        "it is told on standard output alone"
    );
    for node in &stage.nodes {
        let old = node.try_log_in("li.lei", PASSWORD, "web-1").await;
        old.problem(401, "unauthenticated");
        node.log_in("li.lei", fresh, "web-1").await;
    }
    stage.bystander.goes_on().await;
}

async fn a_disabled_account_is_cut_off_until_it_is_enabled(place: Place) {
    let mut stage = Stage::on(&place).await;
    stage.admin(&["disable", "li.lei"]).await.with(0);
    stage.account.is_cut_off().await;
    for node in &stage.nodes {
        let right = node.try_log_in("li.lei", PASSWORD, "web-1").await;
        right.problem(403, "forbidden");
        let wrong = node
            .try_log_in("li.lei", "wrong horse battery", "web-1")
            .await;
        wrong.problem(401, "unauthenticated");
    }
    stage.bystander.goes_on().await;
    stage.admin(&["enable", "li.lei"]).await.with(0);
    for node in &stage.nodes {
        let person = node.log_in("li.lei", PASSWORD, "web-1").await;
        person.client.get("/v1/me").await.ok();
    }
}

async fn an_unknown_name_is_told_and_nothing_is_done(place: Place) {
    let mut stage = Stage::on(&place).await;
    for action in ["reset-password", "disable", "enable"] {
        let refused = stage.admin(&[action, "li.lie"]).await.with(64);
        assert_eq!(refused.out, "", "{action}");
        assert!(
            refused.err.contains("no account with the name li.lie"),
            "{refused:?}"
        );
        stage.admin(&[action]).await.with(64);
    }
    stage.account.goes_on().await;
    stage.bystander.goes_on().await;
}

async fn a_fresh_secret_is_taken_beside_the_last_and_disconnects_nobody(place: Place) {
    let mut stage = Stage::on(&place).await;
    stage.admin(&["rotate-secret"]).await.with(0);
    let node = &stage.nodes[0];
    let mut person = node.log_in("li.lei", PASSWORD, "phone").await;
    let first = person.clone();
    // A renewal is a token under whatever secret signs by now.
    wait_for("the fresh secret signs", async || {
        person = person.renewed_at(node).await;
        (header(&person) != header(&first)).then_some(())
    })
    .await;
    let mut after = Session::open(&stage.nodes, person).await;
    for session in [&mut stage.account, &mut stage.bystander, &mut after] {
        session.goes_on().await;
        for node in &stage.nodes {
            session.person = session.person.renewed_at(node).await;
        }
    }
}

/// The header of the access token, which names the key that signed it.
fn header(person: &Person) -> &str {
    person.access_token.split('.').next().unwrap()
}
