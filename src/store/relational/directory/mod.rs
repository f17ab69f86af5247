//! The [`Directory`] in tables: which statement or transaction each call is. [`logins`] says the
//! same of [`Accounts`](crate::store::accounts::Accounts).
//!
//! The files beside this one hold the work itself: [`accounts`], [`sessions`], [`tickets`],
//! [`groups`], [`members`], and [`outbox`], through which every change of a group goes. Reads are one
//! statement each and so see one moment. Changes of one group are decided one after the other
//! under [`outbox::lock`].

mod accounts;
mod groups;
mod logins;
mod members;
mod outbox;
mod sessions;
mod tickets;

use async_trait::async_trait;
use outbox::Author;

use super::engine::{self, Engine, Fault, Work};
use super::value::{args, packed};
use crate::model::client_id::ClientId;
use crate::model::group::{Group, Member, Membership};
use crate::model::id::{GroupId, UserId};
use crate::model::merchant::Merchant;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::time::Time;
use crate::model::user::User;
use crate::store::Result;
use crate::store::directory::{Changed, Directory, NewGroup, OutboxRow};

/// How often a transaction is tried that the engine undoes to let another one pass. A loser
/// finds the winner gone, so more than a few losses in a row mean that something else is wrong.
const TRIES_MAX: usize = 4;

/// The directory in the tables of `E`.
#[derive(Debug, Clone)]
pub struct SqlDirectory<E> {
    engine: E,
}

impl<E: Engine> SqlDirectory<E> {
    /// The directory in tables that are up to date.
    pub const fn new(engine: E) -> Self {
        Self { engine }
    }

    /// Runs `work` as one transaction, again if it lost a race.
    async fn write<W: Work>(&self, work: W) -> Result<W::Done> {
        for _ in 1..TRIES_MAX {
            match self.attempt(&work).await {
                Err(Fault::LostRace { store, source }) => {
                    tracing::debug!(store, %source, "trying a transaction again");
                }
                done => return Ok(done?),
            }
        }
        Ok(self.attempt(&work).await?)
    }

    async fn attempt<W: Work>(&self, work: &W) -> engine::Result<W::Done> {
        let mut tx = self.engine.begin().await?;
        let done = work.run(&mut *tx).await?;
        tx.commit().await?;
        Ok(done)
    }
}

#[async_trait]
impl<E: Engine> Directory for SqlDirectory<E> {
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let ids = packed(ids.iter().map(UserId::as_bytes));
        let rows = self.engine.read(accounts::BY_ID, args![ids]).await?;
        rows.into_iter().map(accounts::user).collect()
    }

    async fn visible_users(&self, viewer: UserId, ids: &[UserId]) -> Result<Vec<User>> {
        let ids = packed(ids.iter().map(UserId::as_bytes));
        let args = args![ids, viewer];
        let rows = self.engine.read(accounts::VISIBLE, args).await?;
        rows.into_iter().map(accounts::user).collect()
    }

    async fn merchants_of(&self, user: UserId) -> Result<Vec<Merchant>> {
        let rows = self.engine.read(accounts::MERCHANTS, args![user]).await?;
        rows.into_iter().map(accounts::merchant).collect()
    }

    async fn create_group(&self, new: NewGroup) -> Result<Changed> {
        self.write(groups::Create(&new)).await
    }

    async fn groups(&self, ids: &[GroupId]) -> Result<Vec<Group>> {
        let ids = packed(ids.iter().map(GroupId::as_bytes));
        let rows = self.engine.read(groups::BY_ID, args![ids]).await?;
        rows.into_iter()
            .map(|row| groups::group(&mut row.columns()))
            .collect()
    }

    async fn groups_of(&self, user: UserId) -> Result<Vec<(Group, Membership)>> {
        let rows = self.engine.read(groups::OF_USER, args![user]).await?;
        rows.into_iter().map(groups::group_of).collect()
    }

    async fn membership(&self, group: GroupId, user: UserId) -> Result<Option<Membership>> {
        let args = args![group, user];
        let rows = self.engine.read(members::STANDING, args).await?;
        let standing = rows.into_iter().next().map(members::standing);
        Ok(standing.transpose()?.flatten())
    }

    async fn members(
        &self,
        group: GroupId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>> {
        // No identifier is lower than no bytes at all.
        let after = packed(after.as_ref().map(UserId::as_bytes));
        let args = args![group, after, limit];
        let rows = self.engine.read(members::PAGE, args).await?;
        rows.into_iter().map(members::member).collect()
    }

    async fn add_members(
        &self,
        group: GroupId,
        actor: UserId,
        users: &[UserId],
        role: Role,
        most: u64,
        at: Time,
    ) -> Result<Changed> {
        let by = Author { actor, at };
        let addition = members::Add {
            group,
            by,
            users,
            role,
            most,
        };
        self.write(addition).await
    }

    async fn remove_member(
        &self,
        group: GroupId,
        actor: UserId,
        user: UserId,
        seen: Role,
        at: Time,
    ) -> Result<Changed> {
        let by = Author { actor, at };
        let removal = members::Remove {
            group,
            by,
            user,
            seen,
        };
        self.write(removal).await
    }

    async fn set_role(
        &self,
        group: GroupId,
        actor: UserId,
        user: UserId,
        seen: Role,
        role: Role,
        at: Time,
    ) -> Result<Changed> {
        let by = Author { actor, at };
        let appointment = members::SetRole {
            group,
            by,
            user,
            seen,
            role,
        };
        self.write(appointment).await
    }

    async fn rename_group(
        &self,
        group: GroupId,
        actor: UserId,
        name: &str,
        at: Time,
    ) -> Result<Changed> {
        let by = Author { actor, at };
        self.write(groups::Rename { group, by, name }).await
    }

    async fn mark_appended(&self, row: ClientId, pos: Position) -> Result<()> {
        self.write(outbox::Mark { row, pos }).await
    }

    async fn cut_off(&self, group: GroupId, row: Position) -> Result<u64> {
        self.write(outbox::CutOff { group, row }).await
    }

    async fn due(&self, before: Time, limit: u32) -> Result<Vec<OutboxRow>> {
        let rows = self.engine.read(outbox::DUE, args![before, limit]).await?;
        rows.into_iter().map(outbox::row).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::id::SessionId;
    use crate::store::StoreError;
    use crate::store::accounts::Accounts as _;
    use crate::store::relational::engine::Transaction;
    use crate::store::relational::value::{Row, Value};

    /// An engine whose first commits lose a race.
    struct Contended {
        losses_left: Mutex<usize>,
    }

    struct Attempt(Option<Fault>);

    #[async_trait]
    impl Engine for Contended {
        async fn read(&self, _: &'static str, _: &[Value<'_>]) -> Result<Vec<Row>> {
            Ok(Vec::new())
        }

        async fn begin(&self) -> engine::Result<Box<dyn Transaction>> {
            let mut left = self.losses_left.lock().unwrap();
            let loses = *left > 0;
            *left = left.saturating_sub(1);
            let loss = loses.then(|| Fault::LostRace {
                store: "test",
                source: "deadlock".into(),
            });
            Ok(Box::new(Attempt(loss)))
        }
    }

    #[async_trait]
    impl Transaction for Attempt {
        async fn rows(&mut self, _: &'static str, _: &[Value<'_>]) -> engine::Result<Vec<Row>> {
            Ok(Vec::new())
        }

        async fn execute(&mut self, _: &'static str, _: &[Value<'_>]) -> engine::Result<u64> {
            Ok(1)
        }

        async fn commit(self: Box<Self>) -> engine::Result<()> {
            self.0.map_or(Ok(()), Err)
        }
    }

    async fn renewal_after(losses: usize) -> Result<bool> {
        let losses_left = Mutex::new(losses);
        let directory = SqlDirectory::new(Contended { losses_left });
        let id = SessionId::from_bytes([1; 16]);
        let at = Time::from_millis(0);
        directory.renew_session(id, 0, at, at).await
    }

    #[tokio::test]
    async fn a_transaction_that_lost_a_race_is_tried_again() {
        assert!(renewal_after(TRIES_MAX - 1).await.unwrap());
    }

    #[tokio::test]
    async fn a_transaction_that_loses_every_race_is_given_up() {
        let outcome = renewal_after(TRIES_MAX).await;
        assert!(matches!(outcome, Err(StoreError::Unavailable { .. })));
    }
}
