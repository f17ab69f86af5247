//! Who is in a group and what people are called, for a list that is shown: reads that decide
//! nothing, and so may be answered by a copy that is a moment behind.
//!
//! Who asks has shown a permit before. What the answer must know all the same: every change of
//! rights that the permit knows of, so that nobody is listed who was put out before the list was
//! asked for; and what the one who asks did through this process. Of what others did, joining and
//! new names, it may be late by the bound that is set.

use std::sync::Arc;

use async_trait::async_trait;

use super::Result;
use super::directory::Directory;
use crate::model::group::Member;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::user::User;

/// Who asks for a list, and what the answer must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// Who.
    pub user: UserId,
    /// The last change of rights in the group that is known.
    pub rights: Position,
}

/// Lists of people.
#[async_trait]
pub trait Roster: Send + Sync {
    /// As [`Directory::members`], for `viewer`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn members(
        &self,
        group: GroupId,
        viewer: Viewer,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>>;

    /// As [`Directory::users`], for a viewer.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn names(&self, viewer: UserId, ids: &[UserId]) -> Result<Vec<User>>;

    /// Notes that this person changed something, or may have: what they ask for next knows it.
    fn wrote(&self, user: UserId);
}

/// A [`Roster`] that reads what is true now.
pub struct Direct(pub Arc<dyn Directory>);

#[async_trait]
impl Roster for Direct {
    async fn members(
        &self,
        group: GroupId,
        _viewer: Viewer,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>> {
        self.0.members(group, after, limit).await
    }

    async fn names(&self, _viewer: UserId, ids: &[UserId]) -> Result<Vec<User>> {
        self.0.users(ids).await
    }

    fn wrote(&self, _user: UserId) {}
}
