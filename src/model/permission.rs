//! The permission table: the one place that says which role may do what.

use super::role::Role;

/// Something that one asks to do in a group. Every path asks for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the group, its members and its history.
    Read,
    /// Send messages and replies.
    Send,
    /// Mention everyone.
    MentionAll,
    /// Add people.
    Invite,
    /// Remove people of a lower rank.
    Remove,
    /// Rename the group and change its settings.
    ChangeSettings,
    /// Change the role of people of a lower rank.
    Appoint,
}

impl Action {
    /// Every action, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::Read,
        Self::Send,
        Self::MentionAll,
        Self::Invite,
        Self::Remove,
        Self::ChangeSettings,
        Self::Appoint,
    ];

    /// The lowest role that may do this.
    pub const fn least_role(self) -> Role {
        match self {
            Self::Read => Role::Guest,
            Self::Send => Role::Member,
            Self::MentionAll | Self::Invite | Self::Remove | Self::ChangeSettings => Role::Admin,
            Self::Appoint => Role::Owner,
        }
    }

    /// Whether `role` may do this.
    pub fn is_allowed_to(self, role: Role) -> bool {
        role >= self.least_role()
    }
}

/// Whether someone of rank `actor` may act on someone of rank `target`: only downwards.
pub fn outranks(actor: Role, target: Role) -> bool {
    actor > target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_products() {
        use Action::{Appoint, ChangeSettings, Invite, MentionAll, Read, Remove, Send};
        let expected = [
            (Role::Guest, vec![Read]),
            (Role::Member, vec![Read, Send]),
            (
                Role::Admin,
                vec![Read, Send, MentionAll, Invite, Remove, ChangeSettings],
            ),
            (
                Role::Owner,
                vec![
                    Read,
                    Send,
                    MentionAll,
                    Invite,
                    Remove,
                    ChangeSettings,
                    Appoint,
                ],
            ),
        ];
        for (role, actions) in expected {
            let allowed: Vec<_> = Action::ALL
                .iter()
                .copied()
                .filter(|action| action.is_allowed_to(role))
                .collect();
            assert_eq!(allowed, actions, "{role:?}");
        }
    }

    #[test]
    fn nobody_acts_on_an_equal_or_higher_rank() {
        assert!(outranks(Role::Owner, Role::Admin));
        assert!(!outranks(Role::Admin, Role::Admin));
        assert!(!outranks(Role::Member, Role::Owner));
    }
}
