//! A membership that is remembered is believed only while the log knows of no later change of
//! rights, whichever node made the change; and never for long, nor more than may be.

use qunliu::access::{Access, Caller, Options, Read};
use qunliu::model::id::{SessionId, UserId};
use qunliu::model::role::Role;
use qunliu::pipeline::append::{Placed, Request};
use qunliu::protocol::code::ErrorCode;
use qunliu::store::directory::Changed;

use super::first;
use super::pushing::Pushing;
use crate::support::eventually;
use crate::support::logs::{AT, DEADLINE, text};
use crate::support::sample::at;

const OPTIONS: Options = Options {
    cache_entries_max: 10,
    cache_age_s_max: 3600,
};

/// Somebody in a session of their own.
fn caller(user: UserId) -> Caller {
    Caller {
        user,
        session: SessionId::generate(AT),
    }
}

#[tokio::test]
async fn a_removal_by_another_node_ends_what_is_remembered_of_the_membership() {
    let pushing = Pushing::new().await;
    let (node, group) = (&pushing.node, pushing.group);
    let access = Access::new(pushing.directory.clone(), node.log.clone(), &OPTIONS);
    let caller = caller(pushing.member);
    access.permit::<Read>(caller, group).await.unwrap();
    pushing.remove_the_member().await;
    // A send goes by what is remembered; the log refuses it and says where to look.
    let permit = access.permit_send(caller, group).await.unwrap();
    let request = Request {
        rights: Some(permit.rights()),
        ..first(group, text(pushing.member, "在吗"))
    };
    let placed = node.appender.append(&request).await.unwrap();
    assert_eq!(placed, Placed::RightsChanged(at(1, 3)));
    let refused = access.permit::<Read>(caller, group).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let refused = access.permit_send(caller, group).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound, "it is forgotten");
}

#[tokio::test]
async fn a_promotion_by_another_node_ends_what_is_remembered_of_the_role() {
    let pushing = Pushing::new().await;
    let (node, group) = (&pushing.node, pushing.group);
    let access = Access::new(pushing.directory.clone(), node.log.clone(), &OPTIONS);
    let caller = caller(pushing.member);
    pushing.set_role(Role::Member, Role::Guest).await;
    let refused = access.permit_send(caller, group).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    pushing.set_role(Role::Guest, Role::Member).await;
    let permit = access.permit_send(caller, group).await.unwrap();
    assert_eq!((permit.role(), permit.rights()), (Role::Member, at(1, 4)));
}

/// A membership that ended in the directory while its log was told nothing: who still gets a permit
/// has it from what is remembered.
async fn end_untold(pushing: &Pushing, user: UserId) {
    let (directory, group) = (&pushing.directory, pushing.group);
    let ended = directory.remove_member(group, user, user, Role::Member, AT);
    assert!(matches!(ended.await.unwrap(), Changed::Rows(_)));
}

async fn is_remembered(access: &Access, pushing: &Pushing, user: UserId) -> bool {
    let permit = access.permit_send(caller(user), pushing.group).await;
    permit.is_ok()
}

#[tokio::test]
async fn no_membership_is_believed_for_longer_than_it_may_be() {
    let pushing = Pushing::new().await;
    let options = Options {
        cache_age_s_max: 5,
        ..OPTIONS
    };
    let access = Access::new(
        pushing.directory.clone(),
        pushing.node.log.clone(),
        &options,
    );
    assert!(is_remembered(&access, &pushing, pushing.member).await);
    end_untold(&pushing, pushing.member).await;
    assert!(is_remembered(&access, &pushing, pushing.member).await);
    eventually(DEADLINE, async || {
        !is_remembered(&access, &pushing, pushing.member).await
    })
    .await;
}

#[tokio::test]
async fn no_more_memberships_are_remembered_than_may_be() {
    let pushing = Pushing::new().await;
    let options = Options {
        cache_entries_max: 2,
        ..OPTIONS
    };
    let access = Access::new(
        pushing.directory.clone(),
        pushing.node.log.clone(),
        &options,
    );
    let mut members = vec![pushing.member];
    for number in 0..7 {
        let member = pushing.register(&format!("guest{number}")).await;
        pushing.add(member).await;
        members.push(member);
    }
    for member in &members {
        assert!(is_remembered(&access, &pushing, *member).await);
    }
    for member in &members {
        end_untold(&pushing, *member).await;
    }
    // What is over the bound goes a moment later.
    eventually(DEADLINE, async || {
        let mut remembered = 0;
        for member in &members {
            remembered += usize::from(is_remembered(&access, &pushing, *member).await);
        }
        remembered <= 2
    })
    .await;
}
