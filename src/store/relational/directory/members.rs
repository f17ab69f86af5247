//! Members: who is in a group, in which role, from where on.
//!
//! A row whose `joined` event is not in the log yet is pending: it keeps its person from being
//! added twice and is otherwise as if it were not there, for changes as for reads.

use std::collections::HashSet;

use async_trait::async_trait;

use super::accounts;
use super::outbox::{self, Author, Place};
use crate::model::event::{Content, Kind};
use crate::model::group::{Member, Membership};
use crate::model::id::{GroupId, UserId};
use crate::model::role::{Role, StaffRole};
use crate::store::Result;
use crate::store::directory::{Changed, OutboxRow};
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Columns, Row, args, packed, wanted};

/// `$1` the group, `$2` the user. Answers a row for every group, with NULL for what the user is
/// not.
pub(super) const STANDING: &str =
    "SELECT g.merchant_id, s.role, m.role, m.joined_epoch, m.joined_seq
     FROM groups g
     LEFT JOIN staff s ON s.merchant_id = g.merchant_id AND s.user_id = $2
     LEFT JOIN members m ON m.merchant_id = g.merchant_id AND m.group_id = g.id
         AND m.user_id = $2 AND m.joined_epoch IS NOT NULL
     WHERE g.id = $1";

/// `$1` the group, `$2` the last user of the page before, `$3` the limit. The merchant is looked up
/// first and not joined: behind a join PostgreSQL reads the whole group and sorts it.
pub(super) const PAGE: &str = "SELECT user_id, role, joined_epoch, joined_seq FROM members
     WHERE merchant_id = (SELECT merchant_id FROM groups WHERE id = $1) AND group_id = $1
         AND user_id > $2 AND joined_epoch IS NOT NULL
     ORDER BY user_id LIMIT $3";

/// `$1` packed users, `$2` the merchant, `$3` the group. Pending rows count.
const PRESENT: &str = wanted!(
    "SELECT user_id FROM members
     WHERE merchant_id = $2 AND group_id = $3 AND user_id IN (SELECT id FROM wanted)"
);

const ADD: &str = "INSERT INTO members (merchant_id, group_id, user_id, role, joined_by)
     VALUES ($1, $2, $3, $4, $5)";

const ROLE: &str = "SELECT role FROM members WHERE merchant_id = $1 AND group_id = $2
     AND user_id = $3 AND joined_epoch IS NOT NULL";

/// The code of [`Role::Owner`] stands in the statement itself, so that the index of owners is used:
/// a group may have very many members.
const ANOTHER_OWNER: &str = "SELECT user_id FROM members WHERE merchant_id = $1
     AND group_id = $2 AND user_id <> $3 AND role = 40 AND joined_epoch IS NOT NULL LIMIT 1";

const SIZE: &str = "SELECT members FROM groups WHERE merchant_id = $1 AND id = $2";

const SET: &str = "UPDATE members SET role = $4
     WHERE merchant_id = $1 AND group_id = $2 AND user_id = $3";

const REMOVE: &str =
    "DELETE FROM members WHERE merchant_id = $1 AND group_id = $2 AND user_id = $3";

const COUNT_DOWN: &str =
    "UPDATE groups SET members = members - 1 WHERE merchant_id = $1 AND id = $2";

/// Makes those of `users` members who are not, up to `most` members in all.
pub(super) struct Add<'a> {
    pub(super) group: GroupId,
    pub(super) by: Author,
    pub(super) users: &'a [UserId],
    pub(super) role: Role,
    pub(super) most: u64,
}

#[async_trait]
impl Work for Add<'_> {
    type Done = Changed;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Changed> {
        let Self {
            group,
            by,
            users,
            role,
            most,
        } = *self;
        let Some(place) = outbox::lock(tx, group).await? else {
            return Ok(Changed::Rows(Vec::new()));
        };
        if let Some(unknown) = accounts::unknown_among(tx, users).await? {
            return Ok(Changed::UnknownUser(unknown));
        }
        let mut newcomers = distinct(users);
        let present = present_among(tx, place, &newcomers).await?;
        newcomers.retain(|user| !present.contains(user));

        let mut rows = outbox::unappended(tx, place).await?;
        if !newcomers.is_empty() && size(tx, place, &rows).await? + newcomers.len() as u64 > most {
            return Ok(Changed::Full);
        }
        let about: HashSet<_> = newcomers.iter().copied().map(Some).collect();
        rows.retain(|row| about.contains(&outbox::subject(&row.content)));
        for user in newcomers {
            rows.push(admit(tx, place, by, user, role).await?);
        }
        Ok(Changed::Rows(rows))
    }
}

/// Makes one person, who has no row, a pending member.
pub(super) async fn admit(
    tx: &mut dyn Transaction,
    place: Place,
    by: Author,
    user: UserId,
    role: Role,
) -> engine::Result<OutboxRow> {
    let row = outbox::promise(tx, place, by, Content::Joined { user, role }).await?;
    let Place { merchant, group } = place;
    tx.execute(ADD, args![merchant, group, user, role, row.id])
        .await?;
    Ok(row)
}

/// Ends a membership.
pub(super) struct Remove {
    pub(super) group: GroupId,
    pub(super) by: Author,
    pub(super) user: UserId,
    pub(super) seen: Role,
}

#[async_trait]
impl Work for Remove {
    type Done = Changed;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Changed> {
        let Self {
            group,
            by,
            user,
            seen,
        } = *self;
        let place = match settled(tx, group, user, seen).await? {
            Ok(place) => place,
            Err(refusal) => return Ok(refusal),
        };
        if seen == Role::Owner && is_last_owner(tx, place, user).await? {
            return Ok(Changed::LastOwner);
        }
        tx.execute(REMOVE, args![place.merchant, group, user])
            .await?;
        tx.execute(COUNT_DOWN, args![place.merchant, group]).await?;
        let content = match by.actor == user {
            true => Content::Left { user },
            false => Content::Removed { user },
        };
        outbox::decide(tx, place, by, content).await
    }
}

/// Changes a role from `seen` to `role`.
pub(super) struct SetRole {
    pub(super) group: GroupId,
    pub(super) by: Author,
    pub(super) user: UserId,
    pub(super) seen: Role,
    pub(super) role: Role,
}

#[async_trait]
impl Work for SetRole {
    type Done = Changed;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Changed> {
        let Self {
            group,
            by,
            user,
            seen,
            role,
        } = *self;
        let place = match settled(tx, group, user, seen).await? {
            Ok(place) => place,
            Err(refusal) => return Ok(refusal),
        };
        if role == seen {
            return Ok(Changed::Rows(Vec::new()));
        }
        if seen == Role::Owner && is_last_owner(tx, place, user).await? {
            return Ok(Changed::LastOwner);
        }
        tx.execute(SET, args![place.merchant, group, user, role])
            .await?;
        outbox::decide(tx, place, by, Content::Role { user, role }).await
    }
}

/// Locks the group and checks that `user` still has the role that the caller saw; the inner
/// error is what to answer if not.
async fn settled(
    tx: &mut dyn Transaction,
    group: GroupId,
    user: UserId,
    seen: Role,
) -> engine::Result<std::result::Result<Place, Changed>> {
    let Some(place) = outbox::lock(tx, group).await? else {
        return Ok(Err(Changed::NotMember));
    };
    let row = tx.rows(ROLE, args![place.merchant, group, user]).await?;
    let role: Option<Role> = row.into_iter().next().map(Row::only).transpose()?;
    Ok(match role {
        None => Err(Changed::NotMember),
        Some(role) if role != seen => Err(Changed::RoleMoved),
        Some(_) => Ok(place),
    })
}

async fn is_last_owner(
    tx: &mut dyn Transaction,
    place: Place,
    user: UserId,
) -> engine::Result<bool> {
    let args = args![place.merchant, place.group, user];
    Ok(tx.rows(ANOTHER_OWNER, args).await?.is_empty())
}

/// The members of a group, those who are about to be some among them.
async fn size(
    tx: &mut dyn Transaction,
    place: Place,
    unappended: &[OutboxRow],
) -> engine::Result<u64> {
    let rows = tx.rows(SIZE, args![place.merchant, place.group]).await?;
    let members: Option<u64> = rows.into_iter().next().map(Row::only).transpose()?;
    let joining = unappended.iter().map(|row| row.content.kind());
    let joining = joining.filter(|kind| *kind == Kind::Joined).count();
    Ok(members.unwrap_or_default() + joining as u64)
}

async fn present_among(
    tx: &mut dyn Transaction,
    place: Place,
    users: &[UserId],
) -> engine::Result<HashSet<UserId>> {
    let users = packed(users.iter().map(UserId::as_bytes));
    let args = args![users, place.merchant, place.group];
    let rows = tx.rows(PRESENT, args).await?;
    let present: Result<_> = rows.into_iter().map(Row::only).collect();
    Ok(present?)
}

/// Each user once, in the order of first mention.
pub(super) fn distinct(users: &[UserId]) -> Vec<UserId> {
    let mut met = HashSet::new();
    users
        .iter()
        .copied()
        .filter(|user| met.insert(*user))
        .collect()
}

/// Reads [`STANDING`]; `None` for someone who is neither a member nor staff with a role.
pub(super) fn standing(row: Row) -> Result<Option<Membership>> {
    standing_in(&mut row.columns())
}

/// Reads the columns of [`STANDING`].
pub(super) fn standing_in(columns: &mut Columns) -> Result<Option<Membership>> {
    let merchant = columns.take()?;
    let inherited = columns.take::<Option<StaffRole>>()?;
    let own: Option<Role> = columns.take()?;
    let joined = own.is_some().then(|| columns.position()).transpose()?;
    let highest = own.max(inherited.and_then(StaffRole::in_groups));
    Ok(highest.map(|role| Membership {
        merchant,
        role,
        joined,
    }))
}

/// Reads [`PAGE`].
pub(super) fn member(row: Row) -> Result<Member> {
    let mut columns = row.columns();
    Ok(Member {
        user: columns.take()?,
        role: columns.take()?,
        joined: columns.position()?,
    })
}
