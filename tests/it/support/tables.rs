//! A fresh directory for one test, and what the trait has no call for.

use std::ops::Deref;

use qunliu::model::id::{MerchantId, UserId};
use qunliu::model::role::StaffRole;
use qunliu::store::accounts::Accounts;
use qunliu::store::directory::Directory;

/// The tables behind a directory.
#[async_trait::async_trait]
pub(crate) trait Tables: Send + Sync {
    /// Runs one statement.
    async fn execute(&self, sql: &str);

    /// Bytes as a literal of the engine.
    fn literal(&self, bytes: &[u8]) -> String;
}

/// What the tables of a directory keep, under both of its traits.
pub(crate) trait Kept: Directory + Accounts {}

impl<T: Directory + Accounts> Kept for T {}

/// A directory of its own for one test. It is gone when this is dropped.
pub(crate) struct Fresh {
    directory: Box<dyn Kept>,
    other: Box<dyn Kept>,
    tables: Box<dyn Tables>,
}

impl Fresh {
    /// The directory, another one over the same tables, and the tables.
    pub(crate) fn new(
        directory: Box<dyn Kept>,
        other: Box<dyn Kept>,
        tables: Box<dyn Tables>,
    ) -> Self {
        Self {
            directory,
            other,
            tables,
        }
    }

    /// The same directory as another process sees it.
    pub(crate) fn other(&self) -> &dyn Kept {
        &*self.other
    }

    /// Makes a further merchant.
    pub(crate) async fn add_merchant(&self, id: MerchantId) {
        let id = self.tables.literal(id.as_bytes());
        let values = format!("VALUES ({id}, 'another', 0)");
        let sql = format!("INSERT INTO merchants (id, name, created_at) {values}");
        self.tables.execute(&sql).await;
    }

    /// Makes someone staff.
    pub(crate) async fn add_staff(&self, merchant: MerchantId, user: UserId, role: StaffRole) {
        let merchant = self.tables.literal(merchant.as_bytes());
        let user = self.tables.literal(user.as_bytes());
        let values = format!("VALUES ({merchant}, {user}, {})", role.code());
        let sql = format!("INSERT INTO staff (merchant_id, user_id, role) {values}");
        self.tables.execute(&sql).await;
    }
}

impl Deref for Fresh {
    type Target = dyn Kept;

    fn deref(&self) -> &Self::Target {
        &*self.directory
    }
}

/// The digits of a literal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
