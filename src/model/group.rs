//! Groups and who is in them.

use super::id::{GroupId, MerchantId, UserId};
use super::position::Position;
use super::role::Role;
use super::time::Time;

/// A group's own data. What its log says (head, last message, counts) is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group.
    pub id: GroupId,
    /// The merchant it belongs to.
    pub merchant: MerchantId,
    /// The name shown.
    pub name: String,
    /// How many members it has, those whose `joined` event is not appended yet left out.
    pub members: u64,
    /// When it was created.
    pub created_at: Time,
}

/// The standing of one person in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The group's merchant.
    pub merchant: MerchantId,
    /// What counts for permissions: the role in the group or the one staff inherit, whichever
    /// is higher.
    pub role: Role,
    /// Where the person joined; `None` for staff who are not members.
    pub joined: Option<Position>,
}

impl Membership {
    /// The position above which the person may read: just below the own `joined` event, or
    /// everything for staff.
    pub fn visible_after(&self) -> Position {
        self.joined.map_or(Position::START, |pos| {
            Position::new(pos.epoch, pos.seq.saturating_sub(1))
        })
    }
}

/// One row of a member list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// The role in the group.
    pub role: Role,
    /// Where the person joined.
    pub joined: Position,
}
