//! Members: adding, removing, leaving, and changing roles.
//!
//! A permit says that the caller may do such a thing in the group; whether they may do it to this
//! person is decided here, by rank: nobody acts on an equal or higher one, nor gives away a rank
//! that is not below their own. The directory refuses a change if the person's role is no longer
//! the one that the decision saw; then it is made once more.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::access::{Access, Appoint, Invite, Permit, Read, Remove};
use crate::clock::Clock;
use crate::error::{Busy, Error, Result};
use crate::model::event::Content;
use crate::model::group::Member;
use crate::model::id::{GroupId, UserId};
use crate::model::permission::outranks;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::trace::Trace;
use crate::pipeline::outbox::Outbox;
use crate::protocol::code::ErrorCode;
use crate::store::directory::{Changed, Directory, OutboxRow};
use crate::store::log::Receipt;

/// The most people in one request to add some.
pub const ADDED_MAX: usize = 200;

/// How often a decision is made again because the role that it saw has moved.
const DECISIONS_MAX: usize = 2;

/// Options of these commands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Whether owners and admins may add any account by its id.
    pub add_without_invite: bool,
    /// How many members a group has at most; no less than one founding may bring.
    pub members_max: u64,
}

/// Changes who is in a group.
#[derive(Clone)]
pub struct Members {
    directory: Arc<dyn Directory>,
    outbox: Outbox,
    access: Access,
    clock: Arc<dyn Clock>,
    options: Options,
}

impl Members {
    /// Members of this directory's groups.
    pub fn new(
        directory: Arc<dyn Directory>,
        outbox: Outbox,
        access: Access,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        Self {
            directory,
            outbox,
            access,
            clock,
            options,
        }
    }

    /// Makes people members, all or none; answers each as they are now, in the order asked. Those
    /// who are members already stay as they are.
    ///
    /// # Errors
    /// `not_found` for an unknown person, `forbidden` for a role that is not below the caller's,
    /// `conflict` for a group that would have more members than it may; `busy` while somebody is
    /// being added or removed by a change that was decided and is in no log yet.
    pub async fn add(
        &self,
        permit: Permit<Invite>,
        users: &[UserId],
        role: Role,
        trace: Trace,
    ) -> Result<Vec<Member>> {
        if !self.options.add_without_invite {
            return Err(Error::new(
                ErrorCode::Forbidden,
                "people join this server's groups by invitation",
            ));
        }
        must_outrank(permit.role(), role, "give this role")?;
        let (group, actor) = (permit.group(), permit.caller().user);
        let changed = self.directory.add_members(
            group,
            actor,
            users,
            role,
            self.options.members_max,
            self.clock.now(),
        );
        let rows = settle(changed.await?)?;
        let receipts = self.outbox.append(&rows, Some(trace)).await?;
        let mut added = joined(&rows, &receipts);
        let mut members = Vec::with_capacity(users.len());
        for user in users {
            self.access.forget(group, *user);
            let member = match added.remove(user) {
                Some((role, joined)) => Some(Member {
                    user: *user,
                    role,
                    joined,
                }),
                None => self.member(group, *user).await?,
            };
            members.push(member.ok_or_else(under_way)?);
        }
        Ok(members)
    }

    /// Removes someone of a lower rank.
    ///
    /// # Errors
    /// `not_found` for who is no member, `forbidden` by rank.
    pub async fn remove(&self, permit: Permit<Remove>, user: UserId, trace: Trace) -> Result<()> {
        let (group, actor) = (permit.group(), permit.caller().user);
        for _ in 0..DECISIONS_MAX {
            let member = self
                .below(permit.role(), group, user, "remove this person")
                .await?;
            let at = self.clock.now();
            let changed = self
                .directory
                .remove_member(group, actor, user, member.role, at);
            if self.finish(group, user, changed.await?, trace).await? {
                return Ok(());
            }
        }
        Err(moved())
    }

    /// Gives someone of a lower rank another role below the caller's own.
    ///
    /// # Errors
    /// As [`Members::remove`].
    pub async fn appoint(
        &self,
        permit: Permit<Appoint>,
        user: UserId,
        role: Role,
        trace: Trace,
    ) -> Result<Member> {
        let (group, actor) = (permit.group(), permit.caller().user);
        must_outrank(permit.role(), role, "give this role")?;
        for _ in 0..DECISIONS_MAX {
            let member = self
                .below(permit.role(), group, user, "change this person's role")
                .await?;
            let at = self.clock.now();
            let changed = self
                .directory
                .set_role(group, actor, user, member.role, role, at);
            if self.finish(group, user, changed.await?, trace).await? {
                return Ok(Member { role, ..member });
            }
        }
        Err(moved())
    }

    /// Ends the caller's own membership.
    ///
    /// # Errors
    /// `not_found` for staff who are no members, `conflict` for the last owner.
    pub async fn leave(&self, permit: Permit<Read>, trace: Trace) -> Result<()> {
        let (group, user) = (permit.group(), permit.caller().user);
        for _ in 0..DECISIONS_MAX {
            let member = self.member(group, user).await?.ok_or_else(no_member)?;
            let at = self.clock.now();
            let changed = self
                .directory
                .remove_member(group, user, user, member.role, at);
            if self.finish(group, user, changed.await?, trace).await? {
                return Ok(());
            }
        }
        Err(moved())
    }

    /// The member, if the caller outranks them. Staff of the merchant count by the rank that they
    /// inherit, whatever their role in the group.
    async fn below(&self, actor: Role, group: GroupId, user: UserId, what: &str) -> Result<Member> {
        let member = self.member(group, user).await?.ok_or_else(no_member)?;
        let standing = self.directory.membership(group, user).await?;
        let rank = standing.map_or(member.role, |standing| standing.role.max(member.role));
        must_outrank(actor, rank, what)?;
        Ok(member)
    }

    /// The row of one person in the list of members, with the role in the group itself, which is
    /// what the directory compares.
    async fn member(&self, group: GroupId, user: UserId) -> Result<Option<Member>> {
        let just_below = u128::from_be_bytes(*user.as_bytes()).checked_sub(1);
        let just_below = just_below.map(|id| UserId::from_bytes(id.to_be_bytes()));
        let page = self.directory.members(group, just_below, 1).await?;
        Ok(page.into_iter().find(|member| member.user == user))
    }

    /// Appends what was decided; `false` if it must be decided again.
    async fn finish(
        &self,
        group: GroupId,
        user: UserId,
        changed: Changed,
        trace: Trace,
    ) -> Result<bool> {
        self.access.forget(group, user);
        if changed == Changed::RoleMoved {
            return Ok(false);
        }
        self.outbox.append(&settle(changed)?, Some(trace)).await?;
        self.access.forget(group, user);
        Ok(true)
    }
}

/// The rows of a decided change, or why it was refused.
///
/// # Errors
/// `not_found` for an unknown person or one who is no member, `conflict` for the last owner, for a
/// full group and for a role that moved.
pub(super) fn settle(changed: Changed) -> Result<Vec<OutboxRow>> {
    match changed {
        Changed::Rows(rows) => Ok(rows),
        Changed::UnknownUser(user) => Err(Error::not_found(&format!("user: {user}"))),
        Changed::NotMember => Err(no_member()),
        Changed::RoleMoved => Err(moved()),
        Changed::LastOwner => {
            let detail = "the last owner cannot go without handing the group over";
            Err(Error::new(ErrorCode::Conflict, detail))
        }
        Changed::Full => {
            let detail = "the group would have more members than this server allows";
            Err(Error::new(ErrorCode::Conflict, detail))
        }
    }
}

/// Who joined in which role, and where.
fn joined(rows: &[OutboxRow], receipts: &[Receipt]) -> HashMap<UserId, (Role, Position)> {
    let pairs = rows
        .iter()
        .zip(receipts)
        .filter_map(|(row, receipt)| match row.content {
            Content::Joined { user, role } => Some((user, (role, receipt.pos))),
            _ => None,
        });
    pairs.collect()
}

fn must_outrank(actor: Role, target: Role, what: &str) -> Result<()> {
    if outranks(actor, target) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Forbidden,
        format!("your rank is too low to {what}"),
    ))
}

fn no_member() -> Error {
    Error::not_found("member")
}

fn under_way() -> Error {
    let detail = "their membership is being changed; ask for the same again";
    Error::busy(Busy::Race, detail, 500)
}

fn moved() -> Error {
    Error::new(
        ErrorCode::Conflict,
        "the person's role changed meanwhile; look again",
    )
}
