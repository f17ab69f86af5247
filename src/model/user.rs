//! People.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::UserId;

/// What others may see of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The name one logs in with.
    #[schemars(example = &"li.lei")]
    pub name: String,
    /// The name shown.
    #[schemars(example = &"李雷")]
    pub display_name: String,
}
