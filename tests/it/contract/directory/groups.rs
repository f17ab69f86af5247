//! Groups: made with their first members, listed, renamed, and kept apart by merchant.

use qunliu::model::event::Content;
use qunliu::model::group::{Group, Membership};
use qunliu::model::id::{GroupId, MerchantId, UserId};
use qunliu::model::role::{Role, StaffRole};
use qunliu::store::directory::Changed;

use super::{accounts, add, append, at, founder, group, new_group, only_row, pos, rows};
use crate::support::tables::Fresh;

async fn a_group_promises_its_creator_first(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let new = new_group(merchant, owner, &[ben, owner, ann, ben]);
    let promised = rows(directory.create_group(new.clone()).await.unwrap());
    let joined = |user, role| Content::Joined { user, role };
    let contents: Vec<_> = promised.iter().map(|row| row.content.clone()).collect();
    let expected = [
        joined(owner, Role::Owner),
        joined(ben, Role::Member),
        joined(ann, Role::Member),
    ];
    assert_eq!(contents, expected, "each person once");
    let by_creator = |row: &_| {
        let super::OutboxRow {
            group, actor, at, ..
        } = row;
        (*group, *actor, *at) == (new.id, owner, new.at)
    };
    assert!(promised.iter().all(by_creator));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), promised);
}

async fn an_unknown_person_makes_no_group(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let unknown = UserId::generate(at(0));
    let new = new_group(merchant, owner, &[ann, unknown]);
    let outcome = directory.create_group(new.clone()).await.unwrap();
    assert_eq!(outcome, Changed::UnknownUser(unknown));
    assert_eq!(directory.groups(&[new.id]).await.unwrap(), []);
    assert_eq!(directory.due(at(100), 10).await.unwrap(), []);
}

async fn a_refused_group_leaves_nothing(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let nowhere = new_group(MerchantId::generate(at(0)), owner, &[ann]);
    assert!(directory.create_group(nowhere.clone()).await.is_err());
    let new = new_group(merchant, owner, &[]);
    let first = rows(directory.create_group(new.clone()).await.unwrap());
    let again = directory.create_group(new.clone()).await.unwrap_err();
    assert!(!again.is_transient(), "{again:?}");
    assert_eq!(directory.due(at(100), 10).await.unwrap(), first);
    let found = directory.groups(&[nowhere.id, new.id]).await.unwrap();
    assert_eq!(found.len(), 1);
}

async fn a_group_counts_those_whose_joined_stands_in_the_log(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let new = new_group(merchant, owner, &[ann]);
    let promised = rows(directory.create_group(new.clone()).await.unwrap());
    let mut expected = Group {
        id: new.id,
        merchant,
        name: new.name,
        members: 0,
        created_at: new.at,
    };
    let (found, unknown) = (expected.id, GroupId::generate(at(0)));
    let groups = directory.groups(&[unknown, found]).await.unwrap();
    assert_eq!(groups, [expected.clone()]);
    append(&*directory, &promised, 1).await;
    add(&*directory, found, owner, ben, Role::Member).await;
    expected.members = 2;
    assert_eq!(directory.groups(&[found]).await.unwrap(), [expected]);
}

async fn a_person_finds_their_groups_with_their_standing(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    directory.add_staff(merchant, ann, StaffRole::Admin).await;
    let first = group(&*directory, merchant, owner, &[ann]).await;
    let second = group(&*directory, merchant, ben, &[owner]).await;
    let pending = new_group(merchant, ben, &[ann]);
    directory.create_group(pending).await.unwrap();
    let standings = async |user| {
        let groups = directory.groups_of(user).await.unwrap();
        let standings = groups
            .into_iter()
            .map(|(group, standing)| (group.id, (standing.role, standing.joined)));
        standings.collect::<std::collections::BTreeMap<_, _>>()
    };
    let of_owner = [
        (first, (Role::Owner, Some(pos(1)))),
        (second, (Role::Owner, Some(pos(2)))),
    ];
    assert_eq!(
        standings(owner).await,
        of_owner.into(),
        "the higher role counts"
    );
    let of_ann = [(first, (Role::Admin, Some(pos(2))))];
    assert_eq!(
        standings(ann).await,
        of_ann.into(),
        "the pending one is not there"
    );
    assert_eq!(
        standings(ben).await,
        [(second, (Role::Owner, Some(pos(1))))].into()
    );
}

async fn a_new_name_makes_a_settings_row(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let renamed = directory
        .rename_group(id, owner, "2 群", at(5))
        .await
        .unwrap();
    let row = only_row(renamed);
    let name = Some("2 群".to_owned());
    assert_eq!(row.content, Content::Settings { name });
    assert_eq!((row.group, row.actor, row.at), (id, owner, at(5)));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), [row]);
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].name, "2 群");
    let same = directory
        .rename_group(id, owner, "2 群", at(6))
        .await
        .unwrap();
    assert_eq!(same, Changed::Rows(Vec::new()));
    let unknown = GroupId::generate(at(0));
    let nothing = directory
        .rename_group(unknown, owner, "3 群", at(7))
        .await
        .unwrap();
    assert_eq!(nothing, Changed::Rows(Vec::new()));
}

async fn merchants_do_not_see_each_other(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [rival, customer] = accounts(&*directory).await;
    let another = MerchantId::generate(at(0));
    directory.add_merchant(another).await;
    directory.add_staff(another, rival, StaffRole::Owner).await;
    let ours = group(&*directory, merchant, owner, &[customer]).await;
    let theirs = group(&*directory, another, rival, &[customer]).await;
    assert_eq!(directory.membership(ours, rival).await.unwrap(), None);
    assert_eq!(directory.membership(theirs, owner).await.unwrap(), None);
    let standing = directory.membership(theirs, customer).await.unwrap();
    let expected = Membership {
        merchant: another,
        role: Role::Member,
        joined: Some(pos(2)),
    };
    assert_eq!(standing, Some(expected));
    let of_rival = directory.groups_of(rival).await.unwrap();
    let of_rival: Vec<_> = of_rival.iter().map(|(group, _)| group.id).collect();
    assert_eq!(of_rival, [theirs]);
    let merchants = directory.merchants_of(rival).await.unwrap();
    assert!(merchants.iter().all(|merchant| merchant.id == another));
}

contract!(
    {
        embedded: crate::support::sqlite::open_directory,
        postgres: crate::support::postgres::open_directory,
    },
    [
        a_group_promises_its_creator_first,
        an_unknown_person_makes_no_group,
        a_refused_group_leaves_nothing,
        a_group_counts_those_whose_joined_stands_in_the_log,
        a_person_finds_their_groups_with_their_standing,
        a_new_name_makes_a_settings_row,
        merchants_do_not_see_each_other,
    ]
);
