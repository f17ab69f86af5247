//! The contract of `store::directory`: accounts and sessions, groups, members, and the outbox.
//! Each file ends with the list of its cases.

mod accounts;
mod groups;
mod members;
mod outbox;
mod sessions;

use qunliu::model::id::{GroupId, MerchantId, UserId};
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::model::time::Time;
use qunliu::model::user::User;
use qunliu::store::accounts::{NewUser, Registered};
use qunliu::store::directory::{Changed, NewGroup, OutboxRow};

use crate::support::tables::{Fresh, Kept};

/// Seconds after the moment at which these tests begin.
fn at(second: i64) -> Time {
    Time::from_millis(1_764_000_000_000 + second * 1000)
}

/// The position `[1,seq]`.
const fn pos(seq: u64) -> Position {
    Position::new(1, seq)
}

fn new_user(name: &str) -> NewUser {
    let user = User {
        id: UserId::generate(at(0)),
        name: name.to_owned(),
        display_name: format!("名 {name}"),
    };
    NewUser {
        user,
        password_hash: format!("$argon2id${name}"),
        at: at(0),
        first_merchant: (MerchantId::generate(at(0)), "老街面馆".to_owned()),
        refuse_first: false,
    }
}

/// One of two handles on the same tables, as two processes have.
fn handle(directory: &Fresh, number: usize) -> &dyn Kept {
    match number % 2 {
        0 => &**directory,
        _ => directory.other(),
    }
}

/// The first account, and the merchant that it founds.
async fn founder(directory: &dyn Kept) -> (UserId, MerchantId) {
    let new = new_user("founder");
    let id = new.user.id;
    match directory.register(new).await.unwrap() {
        Registered::First(merchant) => (id, merchant.id),
        other => panic!("not the first account: {other:?}"),
    }
}

/// A further account.
async fn account(directory: &dyn Kept, name: &str) -> UserId {
    let new = new_user(name);
    let id = new.user.id;
    assert_eq!(directory.register(new).await.unwrap(), Registered::Yes);
    id
}

/// As many accounts, in the order of their ids.
async fn accounts<const N: usize>(directory: &dyn Kept) -> [UserId; N] {
    let mut ids = [UserId::from_bytes([0; 16]); N];
    for (number, id) in ids.iter_mut().enumerate() {
        *id = account(directory, &format!("user{number}")).await;
    }
    ids.sort_unstable();
    ids
}

fn new_group(merchant: MerchantId, creator: UserId, members: &[UserId]) -> NewGroup {
    NewGroup {
        id: GroupId::generate(at(1)),
        merchant,
        name: "1 群".to_owned(),
        at: at(1),
        creator,
        members: members.to_vec(),
    }
}

/// A group whose `joined` events stand at `[1,1]` and on, the creator's first.
async fn group(
    directory: &dyn Kept,
    merchant: MerchantId,
    creator: UserId,
    members: &[UserId],
) -> GroupId {
    let new = new_group(merchant, creator, members);
    let id = new.id;
    let created = directory.create_group(new).await.unwrap();
    append(directory, &rows(created), 1).await;
    id
}

/// Adds one member, without an event in the log yet.
async fn add(
    directory: &dyn Kept,
    group: GroupId,
    actor: UserId,
    user: UserId,
    role: Role,
) -> Vec<OutboxRow> {
    let users = [user];
    let added = directory.add_members(group, actor, &users, role, u64::MAX, at(2));
    rows(added.await.unwrap())
}

/// Notes rows as appended from `[1,first]` on.
async fn append(directory: &dyn Kept, rows: &[OutboxRow], first: u64) {
    for (row, seq) in rows.iter().zip(first..) {
        directory.mark_appended(row.id, pos(seq)).await.unwrap();
    }
}

/// The rows of a change that was decided.
fn rows(changed: Changed) -> Vec<OutboxRow> {
    match changed {
        Changed::Rows(rows) => rows,
        other => panic!("the change was not decided: {other:?}"),
    }
}

/// The only row of a change that was decided.
fn only_row(changed: Changed) -> OutboxRow {
    let [row] = <[OutboxRow; 1]>::try_from(rows(changed)).unwrap();
    row
}
