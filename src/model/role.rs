//! Roles: of a member in a group, and of staff in a merchant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! role {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every role, lowest rank first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number that stores keep. It never changes its meaning.
            pub const fn code(self) -> i16 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The role with this number; `None` for one that this version does not know.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

role!(
    /// The role of a member in a group, ordered by rank.
    Role {
        /// May read; may send where the group's settings say so.
        Guest = 10,
        /// May read and send.
        Member = 20,
        /// May also invite, remove and change settings.
        Admin = 30,
        /// May also appoint admins, hand over and dissolve.
        Owner = 40,
    }
);

role!(
    /// The role of staff in a merchant, ordered by rank.
    StaffRole {
        /// Serves customers (客服).
        Agent = 10,
        /// Is an admin in every group of the merchant.
        Admin = 20,
        /// Is an owner in every group of the merchant.
        Owner = 30,
    }
);

impl StaffRole {
    /// The role that staff have in every group of their merchant, without being a member.
    pub const fn in_groups(self) -> Option<Role> {
        match self {
            Self::Agent => None,
            Self::Admin => Some(Role::Admin),
            Self::Owner => Some(Role::Owner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        assert!(
            Role::ALL
                .iter()
                .all(|role| Role::from_code(role.code()) == Some(*role))
        );
        assert!(
            StaffRole::ALL
                .iter()
                .all(|role| StaffRole::from_code(role.code()) == Some(*role))
        );
    }
}
