//! Members: added, removed, appointed; what staff inherit; who must stay.

use futures::future::join_all;
use qunliu::model::event::Content;
use qunliu::model::group::{Member, Membership};
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::role::{Role, StaffRole};
use qunliu::store::directory::Changed;

use super::{accounts, add, append, at, founder, group, handle, only_row, pos, rows};
use crate::support::tables::Fresh;

/// The role in the group, and whether as a member.
async fn role(directory: &Fresh, group: GroupId, user: UserId) -> Option<(Role, bool)> {
    let standing = directory.membership(group, user).await.unwrap();
    standing.map(|standing| (standing.role, standing.joined.is_some()))
}

async fn a_pending_member_is_invisible(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let pending = add(&*directory, id, owner, ann, Role::Guest).await;
    assert_eq!(directory.membership(id, ann).await.unwrap(), None);
    assert_eq!(directory.groups_of(ann).await.unwrap(), []);
    assert_eq!(directory.members(id, None, 10).await.unwrap().len(), 1);
    assert_eq!(directory.due(at(100), 10).await.unwrap(), pending);
    append(&*directory, &pending, 2).await;
    let other = directory.other();
    let standing = Membership {
        merchant,
        role: Role::Guest,
        joined: Some(pos(2)),
    };
    assert_eq!(other.membership(id, ann).await.unwrap(), Some(standing));
    assert_eq!(other.groups_of(ann).await.unwrap().len(), 1);
    assert_eq!(other.members(id, None, 10).await.unwrap().len(), 2);
    assert_eq!(other.due(at(100), 10).await.unwrap(), []);
}

async fn a_pending_member_is_none_to_changes(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let pending = add(&*directory, id, owner, ann, Role::Member).await;
    let removed = directory.remove_member(id, owner, ann, Role::Member, at(3));
    assert_eq!(removed.await.unwrap(), Changed::NotMember);
    let appointed = directory.set_role(id, owner, ann, Role::Member, Role::Admin, at(3));
    assert_eq!(appointed.await.unwrap(), Changed::NotMember);
    assert_eq!(
        add(&*directory, id, owner, ann, Role::Member).await,
        [],
        "already promised"
    );
    assert_eq!(directory.due(at(100), 10).await.unwrap(), pending);
}

async fn who_is_a_member_already_makes_no_row(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann]).await;
    let users = [ann, ben, ben, owner];
    let added = directory
        .add_members(id, owner, &users, Role::Admin, u64::MAX, at(2))
        .await;
    let row = only_row(added.unwrap());
    let content = Content::Joined {
        user: ben,
        role: Role::Admin,
    };
    assert_eq!((row.content, row.actor, row.at), (content, owner, at(2)));
    assert_eq!(role(&directory, id, ann).await, Some((Role::Member, true)));
    let nobody = directory
        .add_members(id, owner, &[], Role::Admin, u64::MAX, at(2))
        .await;
    assert_eq!(nobody.unwrap(), Changed::Rows(Vec::new()));
}

async fn a_group_has_no_more_members_than_it_may(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben, cat, dan] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann]).await;
    let most = 3;
    let add = async |users: &[UserId]| {
        let added = directory.add_members(id, owner, users, Role::Member, most, at(2));
        added.await.unwrap()
    };
    assert_eq!(add(&[ben, cat]).await, Changed::Full);
    let pending = rows(add(&[ann, ben]).await);
    assert_eq!(add(&[cat]).await, Changed::Full, "the other is pending");
    append(&*directory, &pending, 3).await;
    assert_eq!(add(&[cat, dan]).await, Changed::Full);
    assert_eq!(add(&[ann, ben]).await, Changed::Rows(Vec::new()));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), []);
}

async fn an_unknown_person_adds_nobody(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let unknown = UserId::generate(at(0));
    let added = directory
        .add_members(id, owner, &[ann, unknown], Role::Member, u64::MAX, at(2))
        .await;
    assert_eq!(added.unwrap(), Changed::UnknownUser(unknown));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), []);
}

async fn many_who_add_one_person_make_one_member(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let additions = (0..8).map(|number| {
        let handle = handle(&directory, number);
        handle.add_members(
            id,
            owner,
            std::slice::from_ref(&ann),
            Role::Member,
            u64::MAX,
            at(2),
        )
    });
    let outcomes = join_all(additions).await;
    let promised: Vec<_> = outcomes
        .into_iter()
        .flat_map(|outcome| rows(outcome.unwrap()))
        .collect();
    assert_eq!(promised.len(), 1, "{promised:?}");
}

async fn who_leaves_left_and_who_is_put_out_was_removed(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann, ben]).await;
    let left = directory
        .remove_member(id, ann, ann, Role::Member, at(3))
        .await;
    assert_eq!(only_row(left.unwrap()).content, Content::Left { user: ann });
    let removed = directory
        .remove_member(id, owner, ben, Role::Member, at(3))
        .await;
    assert_eq!(
        only_row(removed.unwrap()).content,
        Content::Removed { user: ben }
    );
    assert_eq!(role(&directory, id, ann).await, None);
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].members, 1);
    let again = directory
        .remove_member(id, owner, ben, Role::Member, at(4))
        .await;
    assert_eq!(again.unwrap(), Changed::NotMember);
}

async fn a_role_that_moved_is_decided_again(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann]).await;
    let appointed = directory
        .set_role(id, owner, ann, Role::Member, Role::Admin, at(3))
        .await;
    let row = only_row(appointed.unwrap());
    assert_eq!(
        row.content,
        Content::Role {
            user: ann,
            role: Role::Admin
        }
    );
    assert_eq!(role(&directory, id, ann).await, Some((Role::Admin, true)));
    let removed = directory
        .remove_member(id, owner, ann, Role::Member, at(4))
        .await;
    assert_eq!(removed.unwrap(), Changed::RoleMoved);
    let appointed = directory
        .set_role(id, owner, ann, Role::Member, Role::Guest, at(4))
        .await;
    assert_eq!(appointed.unwrap(), Changed::RoleMoved);
    let same = directory
        .set_role(id, owner, ann, Role::Admin, Role::Admin, at(4))
        .await;
    assert_eq!(same.unwrap(), Changed::Rows(Vec::new()));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), [row]);
}

async fn the_last_owner_stays(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, ann, &[ben]).await;
    let left = directory
        .remove_member(id, ann, ann, Role::Owner, at(3))
        .await;
    assert_eq!(left.unwrap(), Changed::LastOwner);
    let lowered = directory
        .set_role(id, owner, ann, Role::Owner, Role::Admin, at(3))
        .await;
    assert_eq!(lowered.unwrap(), Changed::LastOwner);
    let pending = add(&*directory, id, ann, owner, Role::Owner).await;
    let left = directory
        .remove_member(id, ann, ann, Role::Owner, at(3))
        .await;
    assert_eq!(
        left.unwrap(),
        Changed::LastOwner,
        "the other owner is pending"
    );
    append(&*directory, &pending, 3).await;
    let left = directory
        .remove_member(id, ann, ann, Role::Owner, at(4))
        .await;
    assert_eq!(only_row(left.unwrap()).content, Content::Left { user: ann });
}

async fn of_owners_who_leave_at_once_one_stays(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let owners: [UserId; 6] = accounts(&*directory).await;
    for round in 0..4 {
        let id = group(&*directory, merchant, owner, &[]).await;
        let added = directory.add_members(id, owner, &owners, Role::Owner, u64::MAX, at(2));
        append(&*directory, &rows(added.await.unwrap()), 2).await;
        let everyone = owners.iter().chain([&owner]).copied().enumerate();
        let departures = everyone.map(|(number, user)| {
            let handle = handle(&directory, number);
            handle.remove_member(id, user, user, Role::Owner, at(3))
        });
        let outcomes = join_all(departures).await.into_iter().map(Result::unwrap);
        let stayed = outcomes.filter(|outcome| *outcome == Changed::LastOwner);
        assert_eq!(stayed.count(), 1, "round {round}");
        assert_eq!(directory.members(id, None, 10).await.unwrap().len(), 1);
    }
}

async fn staff_inherit_a_role_in_every_group_of_their_merchant(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, admin, agent] = accounts(&*directory).await;
    directory.add_staff(merchant, admin, StaffRole::Admin).await;
    directory.add_staff(merchant, agent, StaffRole::Agent).await;
    let id = group(&*directory, merchant, ann, &[]).await;
    assert_eq!(
        role(&directory, id, owner).await,
        Some((Role::Owner, false))
    );
    assert_eq!(
        role(&directory, id, admin).await,
        Some((Role::Admin, false))
    );
    assert_eq!(role(&directory, id, agent).await, None, "agents join");
    let added = add(&*directory, id, ann, admin, Role::Guest).await;
    assert_eq!(
        role(&directory, id, admin).await,
        Some((Role::Admin, false)),
        "pending"
    );
    append(&*directory, &added, 2).await;
    assert_eq!(role(&directory, id, admin).await, Some((Role::Admin, true)));
    assert_eq!(
        role(&directory, GroupId::generate(at(0)), owner).await,
        None
    );
}

async fn members_come_in_pages_ordered_by_id(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let users: [UserId; 5] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &users).await;
    let mut everyone = [&users[..], &[owner]].concat();
    everyone.sort_unstable();
    let mut paged = Vec::new();
    for size in [4, 2, 0] {
        let after = paged.last().map(|member: &Member| member.user);
        let page = directory.members(id, after, 4).await.unwrap();
        assert_eq!(page.len(), size);
        paged.extend(page);
    }
    assert!(paged.iter().map(|member| member.user).eq(everyone));
    let joined = |member: &Member| (member.user, member.role, member.joined);
    let of_owner = paged.iter().map(joined).find(|(user, ..)| *user == owner);
    assert_eq!(of_owner, Some((owner, Role::Owner, pos(1))));
}

contract!(
    {
        embedded: crate::support::sqlite::open_directory,
        postgres: crate::support::postgres::open_directory,
    },
    [
        a_pending_member_is_invisible,
        a_pending_member_is_none_to_changes,
        who_is_a_member_already_makes_no_row,
        an_unknown_person_adds_nobody,
        many_who_add_one_person_make_one_member,
        who_leaves_left_and_who_is_put_out_was_removed,
        a_role_that_moved_is_decided_again,
        the_last_owner_stays,
        a_group_has_no_more_members_than_it_may,
        of_owners_who_leave_at_once_one_stays,
        staff_inherit_a_role_in_every_group_of_their_merchant,
        members_come_in_pages_ordered_by_id,
    ]
);
