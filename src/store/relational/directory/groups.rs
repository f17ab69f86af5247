//! Groups: their own data, and whose they are.

use async_trait::async_trait;

use super::outbox::{self, Author, Place};
use super::{accounts, members};
use crate::model::event::Content;
use crate::model::group::{Group, Membership};
use crate::model::id::{GroupId, UserId};
use crate::model::role::Role;
use crate::store::Result;
use crate::store::directory::{Changed, NewGroup};
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Columns, Row, args, wanted};

/// `$1` packed ids.
pub(super) const BY_ID: &str = wanted!(
    "SELECT id, merchant_id, name, members, created_at
     FROM groups WHERE id IN (SELECT id FROM wanted)"
);

/// `$1` the user.
pub(super) const OF_USER: &str = "SELECT g.id, g.merchant_id, g.name, g.members, g.created_at,
         m.merchant_id, s.role, m.role, m.joined_epoch, m.joined_seq
     FROM members m
     JOIN groups g ON g.merchant_id = m.merchant_id AND g.id = m.group_id
     LEFT JOIN staff s ON s.merchant_id = m.merchant_id AND s.user_id = m.user_id
     WHERE m.user_id = $1 AND m.joined_epoch IS NOT NULL";

const ADD: &str = "INSERT INTO groups (merchant_id, id, name, members, revision, created_at)
     VALUES ($1, $2, $3, 0, 1, $4)";

const RENAME: &str = "UPDATE groups SET name = $3
     WHERE merchant_id = $1 AND id = $2 AND name <> $3";

/// Makes a group with its first members, the creator first.
pub(super) struct Create<'a>(pub(super) &'a NewGroup);

#[async_trait]
impl Work for Create<'_> {
    type Done = Changed;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Changed> {
        let new = self.0;
        let everyone: Vec<UserId> = std::iter::once(new.creator)
            .chain(new.members.iter().copied())
            .collect();
        if let Some(unknown) = accounts::unknown_among(tx, &everyone).await? {
            return Ok(Changed::UnknownUser(unknown));
        }
        let group = args![new.merchant, new.id, new.name, new.at];
        tx.execute(ADD, group).await?;
        let place = Place {
            merchant: new.merchant,
            group: new.id,
        };
        let by = Author {
            actor: new.creator,
            at: new.at,
        };
        let newcomers = members::distinct(&everyone);
        let mut rows = Vec::with_capacity(newcomers.len());
        for user in newcomers {
            let role = match user == new.creator {
                true => Role::Owner,
                false => Role::Member,
            };
            rows.push(members::admit(tx, place, by, user, role).await?);
        }
        Ok(Changed::Rows(rows))
    }
}

/// Gives the group another name.
pub(super) struct Rename<'a> {
    pub(super) group: GroupId,
    pub(super) by: Author,
    pub(super) name: &'a str,
}

#[async_trait]
impl Work for Rename<'_> {
    type Done = Changed;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Changed> {
        let Self { group, by, name } = *self;
        let Some(place) = outbox::lock(tx, group).await? else {
            return Ok(Changed::Rows(Vec::new()));
        };
        let renamed = tx
            .execute(RENAME, args![place.merchant, group, name])
            .await?;
        if renamed == 0 {
            return Ok(Changed::Rows(Vec::new()));
        }
        let name = Some(name.to_owned());
        outbox::decide(tx, place, by, Content::Settings { name }).await
    }
}

/// Reads the columns of [`BY_ID`].
pub(super) fn group(columns: &mut Columns) -> Result<Group> {
    Ok(Group {
        id: columns.take()?,
        merchant: columns.take()?,
        name: columns.take()?,
        members: columns.take()?,
        created_at: columns.take()?,
    })
}

/// Reads [`OF_USER`].
pub(super) fn group_of(row: Row) -> Result<(Group, Membership)> {
    let mut columns = row.columns();
    let group = group(&mut columns)?;
    let standing = members::standing_in(&mut columns)?;
    let membership = standing.ok_or_else(|| columns.corrupt("a member's role"))?;
    Ok((group, membership))
}
