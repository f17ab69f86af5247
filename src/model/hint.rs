//! What members of a group are told in passing: who writes, who came, who went. A hint that is
//! lost is not missed; nothing keeps one.

use serde::{Deserialize, Serialize};

use super::id::{GroupId, UserId};

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintKind {
    /// Writes a message.
    Typing,
    /// Has an open socket now, and had none before.
    Online,
    /// Has no open socket any more.
    Offline,
}

impl HintKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Typing, Self::Online, Self::Offline];

    /// Its name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Typing => "typing",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// Something to be told in passing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// What.
    pub kind: HintKind,
    /// Of whom.
    pub user: UserId,
    /// In which groups.
    pub groups: Vec<GroupId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_wire() {
        for kind in [HintKind::Typing, HintKind::Online, HintKind::Offline] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
