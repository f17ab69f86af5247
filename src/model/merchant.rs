//! Merchants: the tenants.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::MerchantId;
use super::role::StaffRole;

/// A merchant as one of its staff sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Merchant {
    /// The tenant.
    pub id: MerchantId,
    /// The name shown.
    #[schemars(example = &"老街面馆")]
    pub name: String,
    /// The role of the one who asks.
    pub role: StaffRole,
}
