//! People.

use serde::{Deserialize, Serialize};

use super::id::UserId;

/// What others may see of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The name one logs in with.
    pub name: String,
    /// The name shown.
    pub display_name: String,
}
