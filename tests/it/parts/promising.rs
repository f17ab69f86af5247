//! Changes of members and the logs they go to: a change that a log lost is due again, and none is
//! passed over because it was appended in the moment of the loss.

use std::sync::Arc;

use qunliu::access::{self, Access, Caller};
use qunliu::clock::ManualClock;
use qunliu::model::id::{GroupId, MerchantId, SessionId, UserId};
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::model::time::Time;
use qunliu::model::user::User;
use qunliu::pipeline::commands::members::{Members, Options};
use qunliu::pipeline::outbox::Outbox;
use qunliu::protocol::code::ErrorCode;
use qunliu::store::accounts::{Accounts as _, NewUser, Registered};
use qunliu::store::directory::{Changed, Directory as _, NewGroup, OutboxRow};
use qunliu::store::embedded::cards::NoCards;

use super::{Node, TRACE};
use crate::support::logs::{AT, text, user};

const OPTIONS: access::Options = access::Options {
    cache_entries_max: 10,
    cache_age_s_max: 3600,
};

/// A later moment than that of every change.
const LATER: Time = Time::from_millis(AT.as_millis() + 1);

fn outbox(node: &Node) -> Outbox {
    Outbox {
        directory: node.directory.clone(),
        appender: node.appender.clone(),
        fences: node.fences.clone(),
        cards: Arc::new(NoCards),
        signals: node.stores.signals.clone(),
        clock: Arc::new(ManualClock::at(AT)),
        metrics: node.metrics.clone(),
        traces: node.traces.clone(),
    }
}

async fn register(node: &Node, name: &str) -> (UserId, Registered) {
    let user = User {
        id: UserId::generate(AT),
        name: name.to_owned(),
        display_name: name.to_owned(),
    };
    let id = user.id;
    let new = NewUser {
        user,
        password_hash: "$argon2id$".to_owned(),
        at: AT,
        first_merchant: (MerchantId::generate(AT), "老街面馆".to_owned()),
        refuse_first: false,
    };
    (id, node.directory.register(new).await.unwrap())
}

/// A group that is decided and in no log yet: its two rows, and the member of the second.
async fn founded(node: &Node) -> (GroupId, Vec<OutboxRow>, UserId) {
    let (owner, Registered::First(merchant)) = register(node, "li.lei").await else {
        panic!("not the first account");
    };
    let (member, _) = register(node, "han.meimei").await;
    let new = NewGroup {
        id: GroupId::generate(AT),
        merchant: merchant.id,
        name: "1 群".to_owned(),
        at: AT,
        creator: owner,
        members: vec![member],
    };
    let id = new.id;
    let Changed::Rows(rows) = node.directory.create_group(new).await.unwrap() else {
        panic!("not founded");
    };
    (id, rows, member)
}

#[tokio::test]
async fn a_change_that_the_log_lost_is_due_again_once_the_log_is_open_again() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    let (group, rows, member) = founded(&node).await;
    let outbox = outbox(&node);
    outbox.append(&rows, None).await.unwrap();
    let log = node.log.log.range(group, Position::START, None, 9);
    let first = log.await.unwrap().swap_remove(0);
    node.stores
        .messages
        .insert(&[(group, first)])
        .await
        .unwrap();
    assert_eq!(node.directory.due(LATER, 9).await.unwrap(), []);

    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    node.raise(group).await;
    node.append(group, text(user(), "在吗")).await;
    let due = node.directory.due(LATER, 9).await.unwrap();
    assert_eq!(due, rows[1..], "what is stored needs no second event");
    let receipts = outbox.append(&due, None).await.unwrap();
    assert_eq!(receipts[0].pos, Position::new(2, 3));
    let standing = node.directory.membership(group, member).await.unwrap();
    assert_eq!(standing.unwrap().joined, Some(receipts[0].pos));
    assert_eq!(node.directory.due(LATER, 9).await.unwrap(), []);
}

#[tokio::test]
async fn who_is_decided_and_in_no_log_yet_is_not_called_a_member() {
    let node = Node::new().await;
    let (group, rows, member) = founded(&node).await;
    outbox(&node).append(&rows, None).await.unwrap();
    let owner = rows[0].actor;
    let (newcomer, _) = register(&node, "lin.tao").await;
    let (users, role) = ([member, newcomer], Role::Member);
    let decided = node
        .directory
        .add_members(group, owner, &users[1..], role, 9, AT);
    let Changed::Rows(decided) = decided.await.unwrap() else {
        panic!("not added");
    };
    let access = Access::new(node.directory.clone(), node.log.clone(), &OPTIONS);
    let options = Options {
        add_without_invite: true,
        members_max: 9,
    };
    let clock = Arc::new(ManualClock::at(AT));
    let members = Members::new(
        node.directory.clone(),
        outbox(&node),
        access.clone(),
        clock,
        options,
    );
    let caller = Caller {
        user: owner,
        session: SessionId::generate(AT),
    };
    let add = async || {
        let permit = access.permit(caller, group).await.unwrap();
        members.add(permit, &users, role, TRACE).await
    };
    let refused = add().await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy, "{refused}");
    outbox(&node).append(&decided, None).await.unwrap();
    let added = add().await.unwrap();
    assert_eq!(added.iter().map(|one| one.user).collect::<Vec<_>>(), users);
}

#[tokio::test]
async fn a_change_appended_while_a_fence_was_raised_is_appended_again() {
    let node = Node::new().await;
    let (group, rows, _) = founded(&node).await;
    let (outbox, door) = (outbox(&node), &node.log.append);
    let before = door.callers();
    door.shut();
    let raising = async {
        door.reached_by(before + 1).await;
        node.raise(group).await;
        door.open();
    };
    let (receipts, ()) = tokio::join!(outbox.append(&rows, None), raising);
    let seqs: Vec<_> = receipts.unwrap().iter().map(|r| r.pos.seq).collect();
    assert_eq!(seqs, [1, 2], "each stands once");
    let tried = door.callers() - before;
    assert!(
        tried >= 2 * rows.len(),
        "who raised may not have seen their marks: {tried}"
    );
}
