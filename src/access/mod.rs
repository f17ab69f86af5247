//! Who may do what: callers, the membership cache, and [`Permit`], which only this folder can
//! make. A command or a read of a group takes a permit, so a route that forgot to ask does not
//! compile.
//!
//! A cached membership is believed only while the group's log knows of no later change of
//! rights (`mv`, dataflow.md): reads compare it with the head, sends are compared by the append
//! itself.

pub mod sessions; // which log-ins are over

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::error::{Error, Result};
use crate::model::group::Membership;
use crate::model::id::{GroupId, MerchantId, SessionId, UserId};
use crate::model::permission::Action;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::protocol::code::ErrorCode;
use crate::store::directory::Directory;
use crate::store::log::Log;

/// Whoever sends a request, proven by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: UserId,
    /// The log-in that the token belongs to.
    pub session: SessionId,
}

/// An action as a type, so that a permit for one cannot serve for another.
pub trait Ask {
    /// The row of the permission table.
    const ACTION: Action;
}

macro_rules! asks {
    ($($(#[$doc:meta])* $name:ident => $action:ident;)+) => {
        $($(#[$doc])* #[derive(Debug, Clone, Copy)] pub struct $name;
        impl Ask for $name { const ACTION: Action = Action::$action; })+
    };
}

asks! {
    /// See [`Action::Read`].
    Read => Read;
    /// See [`Action::Send`].
    Send => Send;
    /// See [`Action::Invite`].
    Invite => Invite;
    /// See [`Action::Remove`].
    Remove => Remove;
    /// See [`Action::ChangeSettings`].
    ChangeSettings => ChangeSettings;
    /// See [`Action::Appoint`].
    Appoint => Appoint;
}

/// Proof that a caller may do `A` in a group, made under the rights known at [`Permit::rights`].
#[derive(Debug, Clone, Copy)]
pub struct Permit<A> {
    caller: Caller,
    group: GroupId,
    standing: Standing,
    action: PhantomData<A>,
}

/// A membership and the rights it was read under.
#[derive(Debug, Clone, Copy)]
struct Standing {
    membership: Membership,
    rights: Position,
}

impl<A> Permit<A> {
    /// Who may.
    pub const fn caller(&self) -> Caller {
        self.caller
    }

    /// Where.
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// The group's merchant.
    pub const fn merchant(&self) -> MerchantId {
        self.standing.membership.merchant
    }

    /// The caller's effective role.
    pub const fn role(&self) -> Role {
        self.standing.membership.role
    }

    /// Where the caller joined; `None` for staff who are not members.
    pub const fn joined(&self) -> Option<Position> {
        self.standing.membership.joined
    }

    /// The last change of rights that this permit knows of.
    pub const fn rights(&self) -> Position {
        self.standing.rights
    }

    /// The position above which the caller may read.
    pub fn visible_after(&self) -> Position {
        self.standing.membership.visible_after()
    }
}

/// Options of this folder.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How many memberships are remembered; about 200 bytes each.
    pub cache_entries_max: u64,
    /// How long one is believed although nothing says that it changed, in seconds.
    pub cache_age_s_max: u64,
}

/// Answers who may do what.
#[derive(Clone)]
pub struct Access {
    directory: Arc<dyn Directory>,
    log: Arc<dyn Log>,
    cache: Cache<(GroupId, UserId), Standing>,
}

impl Access {
    /// Answers from this directory, with rights compared to this log.
    pub fn new(directory: Arc<dyn Directory>, log: Arc<dyn Log>, options: &Options) -> Self {
        let cache = Cache::builder()
            .max_capacity(options.cache_entries_max)
            .time_to_live(Duration::from_secs(options.cache_age_s_max))
            .build();
        Self {
            directory,
            log,
            cache,
        }
    }

    /// A permit for `A` by what is known now: the head of the group's log is read, and the
    /// directory too unless the cache is no older than the head's last change of rights.
    ///
    /// # Errors
    /// `not_found` for a group that one may not know of, `forbidden` for a role that may not,
    /// `busy` when a store does not answer.
    pub async fn permit<A: Ask>(&self, caller: Caller, group: GroupId) -> Result<Permit<A>> {
        let head = self.log.head(group).await?;
        let rights = head.map_or(Position::START, |head| head.rights);
        self.permit_under(caller, group, rights).await
    }

    /// A permit to send from the cache alone where that allows it: the append compares it with the
    /// log and answers where rights changed. Nothing would compare a refusal.
    ///
    /// # Errors
    /// As [`Access::permit`].
    pub async fn permit_send(&self, caller: Caller, group: GroupId) -> Result<Permit<Send>> {
        let known = self.cache.get(&(group, caller.user));
        match known.map(|standing| grant(caller, group, standing)) {
            Some(Ok(permit)) => Ok(permit),
            Some(Err(_)) | None => self.permit(caller, group).await,
        }
    }

    /// A permit made after the change of rights at `rights` became known.
    ///
    /// # Errors
    /// As [`Access::permit`].
    pub async fn permit_under<A: Ask>(
        &self,
        caller: Caller,
        group: GroupId,
        rights: Position,
    ) -> Result<Permit<A>> {
        let key = (group, caller.user);
        if let Some(standing) = self.cache.get(&key).filter(|known| known.rights >= rights) {
            return grant(caller, group, standing);
        }
        let Some(membership) = self.directory.membership(group, caller.user).await? else {
            self.cache.invalidate(&key);
            return Err(Error::not_found("group"));
        };
        let standing = Standing { membership, rights };
        self.cache.insert(key, standing);
        grant(caller, group, standing)
    }

    /// Forgets what is known of a membership that this node just changed.
    pub fn forget(&self, group: GroupId, user: UserId) {
        self.cache.invalidate(&(group, user));
    }
}

fn grant<A: Ask>(caller: Caller, group: GroupId, standing: Standing) -> Result<Permit<A>> {
    let role = standing.membership.role;
    if !A::ACTION.is_allowed_to(role) {
        let detail = format!("the role {role:?} may not do this").to_lowercase();
        return Err(Error::new(ErrorCode::Forbidden, detail));
    }
    Ok(Permit {
        caller,
        group,
        standing,
        action: PhantomData,
    })
}
