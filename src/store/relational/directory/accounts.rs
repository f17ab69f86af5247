//! Accounts, what a log-in is checked against, and who staffs which merchant.

use std::collections::HashSet;

use async_trait::async_trait;

use super::sessions::End;
use crate::model::id::UserId;
use crate::model::merchant::Merchant;
use crate::model::role::StaffRole;
use crate::model::user::User;
use crate::store::Result;
use crate::store::accounts::{Credentials, NewUser, Registered};
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Row, args, packed, wanted};

/// One row once there is an account.
pub(super) const FOUNDED: &str = "SELECT merchant_id FROM founding";

/// `$1` the name.
pub(super) const CREDENTIALS: &str =
    "SELECT id, name, display_name, password_hash, is_disabled FROM users WHERE name = $1";

/// `$1` packed ids.
pub(super) const BY_ID: &str =
    wanted!("SELECT id, name, display_name FROM users WHERE id IN (SELECT id FROM wanted)");

/// `$1` packed ids, `$2` the viewer. People share a group if both are members of it, and a
/// merchant if one staffs it and the other staffs it or is a member of a group of it. Two
/// customers of one merchant do not see each other for that alone.
pub(super) const VISIBLE: &str = wanted!(
    "SELECT u.id, u.name, u.display_name FROM users u
     WHERE u.id IN (SELECT id FROM wanted) AND (u.id = $2
         OR EXISTS (SELECT 1 FROM members mine JOIN members theirs
                ON theirs.merchant_id = mine.merchant_id AND theirs.group_id = mine.group_id
             WHERE mine.user_id = $2 AND mine.joined_epoch IS NOT NULL
                AND theirs.user_id = u.id AND theirs.joined_epoch IS NOT NULL)
         OR EXISTS (SELECT 1 FROM staff mine JOIN staff theirs
                ON theirs.merchant_id = mine.merchant_id
             WHERE mine.user_id = $2 AND theirs.user_id = u.id)
         OR EXISTS (SELECT 1 FROM staff mine JOIN members theirs
                ON theirs.merchant_id = mine.merchant_id
             WHERE mine.user_id = $2
                AND theirs.user_id = u.id AND theirs.joined_epoch IS NOT NULL)
         OR EXISTS (SELECT 1 FROM members mine JOIN staff theirs
                ON theirs.merchant_id = mine.merchant_id
             WHERE mine.user_id = $2 AND mine.joined_epoch IS NOT NULL
                AND theirs.user_id = u.id))"
);

/// `$1` the user.
pub(super) const MERCHANTS: &str = "SELECT m.id, m.name, s.role
     FROM staff s JOIN merchants m ON m.id = s.merchant_id WHERE s.user_id = $1";

const ADD_USER: &str = "INSERT INTO users (id, name, display_name, password_hash, created_at)
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";

const RENAME: &str = "UPDATE users SET display_name = $2 WHERE id = $1";

const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2 WHERE id = $1";

const SET_DISABLED: &str = "UPDATE users SET is_disabled = $2 WHERE id = $1";

/// Waits for whoever is founding at this moment, and makes no row if that one commits.
const FOUND: &str =
    "INSERT INTO founding (id, merchant_id) VALUES (1, $1) ON CONFLICT (id) DO NOTHING";

const ADD_MERCHANT: &str = "INSERT INTO merchants (id, name, created_at) VALUES ($1, $2, $3)";

const ADD_STAFF: &str = "INSERT INTO staff (merchant_id, user_id, role) VALUES ($1, $2, $3)";

/// The first of `users` that does not exist.
pub(super) async fn unknown_among(
    tx: &mut dyn Transaction,
    users: &[UserId],
) -> engine::Result<Option<UserId>> {
    let ids = packed(users.iter().map(UserId::as_bytes));
    let known = tx.rows(BY_ID, args![ids]).await?.into_iter().map(user);
    let known: HashSet<UserId> = known.map(|user| Ok(user?.id)).collect::<Result<_>>()?;
    Ok(users.iter().copied().find(|user| !known.contains(user)))
}

/// Makes an account, and the merchant if it is the first.
pub(super) struct Register<'a>(pub(super) &'a NewUser);

#[async_trait]
impl Work for Register<'_> {
    type Done = Registered;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<Registered> {
        let new = self.0;
        let founded = !tx.rows(FOUNDED, args![]).await?.is_empty();
        if !founded && new.refuse_first {
            return Ok(Registered::FirstRefused);
        }
        let User {
            id,
            name,
            display_name,
        } = &new.user;
        let user = args![*id, *name, *display_name, new.password_hash, new.at];
        if tx.execute(ADD_USER, user).await? == 0 {
            return Ok(Registered::NameTaken);
        }
        match founded {
            true => Ok(Registered::Yes),
            false => found(tx, new).await,
        }
    }
}

/// Founds the first merchant, unless another first account does so at this moment.
async fn found(tx: &mut dyn Transaction, new: &NewUser) -> engine::Result<Registered> {
    let (id, name) = new.first_merchant.clone();
    let role = StaffRole::Owner;
    if tx.execute(FOUND, args![id]).await? == 0 {
        return Ok(Registered::Yes);
    }
    tx.execute(ADD_MERCHANT, args![id, name, new.at]).await?;
    tx.execute(ADD_STAFF, args![id, new.user.id, role]).await?;
    Ok(Registered::First(Merchant { id, name, role }))
}

/// Changes the name shown; done if the account exists.
pub(super) struct Rename<'a> {
    pub(super) user: UserId,
    pub(super) display_name: &'a str,
}

#[async_trait]
impl Work for Rename<'_> {
    type Done = bool;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<bool> {
        let args = args![self.user, self.display_name];
        Ok(tx.execute(RENAME, args).await? == 1)
    }
}

/// Changes a password and ends sessions.
pub(super) struct SetPassword<'a> {
    pub(super) hash: &'a str,
    pub(super) ends: End,
}

#[async_trait]
impl Work for SetPassword<'_> {
    type Done = ();

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<()> {
        tx.execute(SET_PASSWORD, args![self.ends.user, self.hash])
            .await?;
        self.ends.run(tx).await.map(drop)
    }
}

/// Disables an account and ends its sessions, or enables it.
pub(super) struct SetDisabled {
    pub(super) is_disabled: bool,
    pub(super) ends: End,
}

#[async_trait]
impl Work for SetDisabled {
    type Done = ();

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<()> {
        let flag = i64::from(self.is_disabled);
        tx.execute(SET_DISABLED, args![self.ends.user, flag])
            .await?;
        if self.is_disabled {
            self.ends.run(tx).await?;
        }
        Ok(())
    }
}

/// Reads `id, name, display_name`.
pub(super) fn user(row: Row) -> Result<User> {
    let mut columns = row.columns();
    Ok(User {
        id: columns.take()?,
        name: columns.take()?,
        display_name: columns.take()?,
    })
}

/// Reads [`CREDENTIALS`].
pub(super) fn credentials(row: Row) -> Result<Credentials> {
    let mut columns = row.columns();
    let user = User {
        id: columns.take()?,
        name: columns.take()?,
        display_name: columns.take()?,
    };
    Ok(Credentials {
        user,
        password_hash: columns.take()?,
        is_disabled: columns.take::<i64>()? != 0,
    })
}

/// Reads [`MERCHANTS`].
pub(super) fn merchant(row: Row) -> Result<Merchant> {
    let mut columns = row.columns();
    Ok(Merchant {
        id: columns.take()?,
        name: columns.take()?,
        role: columns.take()?,
    })
}
