//! Accounts: who is first, whose name it is, and who may see whom.

use futures::future::join_all;
use qunliu::model::id::{MerchantId, UserId};
use qunliu::model::merchant::Merchant;
use qunliu::model::role::{Role, StaffRole};
use qunliu::store::accounts::{NewUser, Registered};

use super::{account, accounts, add, at, founder, group, handle, new_user};
use crate::support::tables::Fresh;

async fn the_first_account_owns_the_first_merchant(directory: Fresh) {
    assert!(directory.is_empty().await.unwrap());
    let new = new_user("founder");
    let merchant = Merchant {
        id: new.first_merchant.0,
        name: new.first_merchant.1.clone(),
        role: StaffRole::Owner,
    };
    let first = directory.register(new.clone()).await.unwrap();
    assert_eq!(first, Registered::First(merchant.clone()));
    assert!(!directory.is_empty().await.unwrap());
    let second = account(&*directory, "second").await;
    let of = directory.merchants_of(new.user.id).await.unwrap();
    assert_eq!(of, [merchant]);
    assert_eq!(directory.merchants_of(second).await.unwrap(), []);
}

async fn one_of_many_racing_first_accounts_founds(directory: Fresh) {
    let names: Vec<_> = (0..16).map(|number| format!("user{number}")).collect();
    let registrations = names
        .iter()
        .enumerate()
        .map(|(number, name)| handle(&directory, number).register(new_user(name)));
    let outcomes = join_all(registrations).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let is_first = |outcome: &&Registered| matches!(outcome, Registered::First(_));
    assert_eq!(outcomes.iter().filter(is_first).count(), 1, "{outcomes:?}");
    let others = outcomes
        .iter()
        .filter(|outcome| **outcome == Registered::Yes);
    assert_eq!(others.count(), 15, "{outcomes:?}");
}

async fn a_first_account_can_be_refused(directory: Fresh) {
    let refused = NewUser {
        refuse_first: true,
        ..new_user("early")
    };
    let outcome = directory.register(refused.clone()).await.unwrap();
    assert_eq!(outcome, Registered::FirstRefused);
    assert!(directory.is_empty().await.unwrap());
    assert_eq!(directory.credentials("early").await.unwrap(), None);
    founder(&*directory).await;
    let outcome = directory.register(refused).await.unwrap();
    assert_eq!(outcome, Registered::Yes, "it is not the first any more");
}

async fn a_name_belongs_to_one_account(directory: Fresh) {
    founder(&*directory).await;
    let registrations = (0..8).map(|_| directory.register(new_user("li.lei")));
    let outcomes = join_all(registrations).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let made = outcomes
        .iter()
        .filter(|outcome| **outcome == Registered::Yes);
    assert_eq!(made.count(), 1, "{outcomes:?}");
    let taken = Registered::NameTaken;
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == taken).count(),
        7
    );
}

async fn credentials_are_found_by_the_exact_name(directory: Fresh) {
    let new = new_user("founder");
    directory.register(new.clone()).await.unwrap();
    let found = directory.credentials("founder").await.unwrap().unwrap();
    assert_eq!(found.user, new.user);
    assert_eq!(found.password_hash, new.password_hash);
    assert_eq!(directory.credentials("Founder").await.unwrap(), None);
    assert_eq!(directory.credentials("founde").await.unwrap(), None);
}

async fn unknown_ids_are_left_out(directory: Fresh) {
    let (owner, _) = founder(&*directory).await;
    let [one, two] = accounts(&*directory).await;
    let unknown = UserId::generate(at(0));
    let found = directory.users(&[two, unknown, owner, two]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|user| user.id).collect();
    found.sort_unstable();
    let mut expected = [owner, two];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(directory.users(&[]).await.unwrap(), []);
    let many: Vec<_> = (0..499)
        .map(|_| UserId::generate(at(0)))
        .chain([one])
        .collect();
    assert_eq!(directory.users(&many).await.unwrap().len(), 1);
}

/// Whom of `ids` the viewer sees, in the order of `ids`.
async fn seen(directory: &Fresh, viewer: UserId, ids: &[UserId]) -> Vec<UserId> {
    let users = directory.visible_users(viewer, ids).await.unwrap();
    let users: Vec<_> = users.into_iter().map(|user| user.id).collect();
    ids.iter()
        .copied()
        .filter(|id| users.contains(id))
        .collect()
}

async fn people_see_those_of_their_groups(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben, cat, dan] = accounts(&*directory).await;
    let first = group(&*directory, merchant, owner, &[ann, ben]).await;
    group(&*directory, merchant, owner, &[cat]).await;
    let everyone = [owner, ann, ben, cat, dan];
    assert_eq!(seen(&directory, ann, &everyone).await, [owner, ann, ben]);
    assert_eq!(seen(&directory, dan, &everyone).await, [dan]);
    assert_eq!(
        seen(&directory, ann, &[ben]).await,
        [ben],
        "only of those asked"
    );
    add(&*directory, first, owner, dan, Role::Member).await;
    assert_eq!(
        seen(&directory, dan, &everyone).await,
        [dan],
        "still pending"
    );
    assert_eq!(seen(&directory, ann, &[dan]).await, [], "still pending");
}

async fn staff_and_customers_of_a_merchant_see_each_other(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [agent, ann, ben, rival] = accounts(&*directory).await;
    directory.add_staff(merchant, agent, StaffRole::Agent).await;
    let another = MerchantId::generate(at(0));
    directory.add_merchant(another).await;
    directory.add_staff(another, rival, StaffRole::Owner).await;
    group(&*directory, merchant, owner, &[ann]).await;
    group(&*directory, merchant, owner, &[ben]).await;
    let everyone = [owner, agent, ann, ben, rival];
    assert_eq!(
        seen(&directory, agent, &everyone).await,
        [owner, agent, ann, ben]
    );
    assert_eq!(seen(&directory, ann, &everyone).await, [owner, agent, ann]);
    assert_eq!(seen(&directory, rival, &everyone).await, [rival]);
}

contract!(
    {
        embedded: crate::support::sqlite::open_directory,
        postgres: crate::support::postgres::open_directory,
    },
    [
        the_first_account_owns_the_first_merchant,
        one_of_many_racing_first_accounts_founds,
        a_first_account_can_be_refused,
        a_name_belongs_to_one_account,
        credentials_are_found_by_the_exact_name,
        unknown_ids_are_left_out,
        people_see_those_of_their_groups,
        staff_and_customers_of_a_merchant_see_each_other,
    ]
);
