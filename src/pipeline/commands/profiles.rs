//! What people show of themselves.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::id::UserId;
use crate::model::name::ShownName;
use crate::store::accounts::Accounts;
use crate::store::cards::Cards;

/// Changes profiles.
#[derive(Clone)]
pub struct Profiles {
    accounts: Arc<dyn Accounts>,
    cards: Arc<dyn Cards>,
}

impl Profiles {
    /// Profiles of these accounts, of which `cards` hold copies.
    pub fn new(accounts: Arc<dyn Accounts>, cards: Arc<dyn Cards>) -> Self {
        Self { accounts, cards }
    }

    /// Changes the name shown.
    ///
    /// # Errors
    /// `busy` when a store does not answer.
    pub async fn rename(&self, user: UserId, name: &ShownName) -> Result<()> {
        self.cards.hold(user).await?;
        let found = self.accounts.rename_user(user, name.as_str()).await?;
        self.cards.let_go(user).await?;
        found.then_some(()).ok_or_else(|| Error::not_found("user"))
    }
}
