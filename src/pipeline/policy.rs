//! The rules of a merchant on what may be said: one synchronous look at each message before it is
//! appended. There are no rules yet; word lists, links and quiet hours will be some.
//!
//! A rule sees a message once per attempt, must not wait for anything, and changes nothing.

use std::sync::Arc;

use super::commands::messages::NewMessage;
use crate::access::{Permit, Send};
use crate::error::{Error, Result};
use crate::protocol::code::ErrorCode;

/// One rule.
pub trait Rule: std::marker::Send + Sync {
    /// Why the message is refused, for its sender to read; `None` if this rule lets it pass.
    fn refuses(&self, permit: &Permit<Send>, message: &NewMessage) -> Option<String>;
}

/// The rules, in the order in which they are asked. Cheap to clone.
#[derive(Clone, Default)]
pub struct Policy {
    rules: Vec<Arc<dyn Rule>>,
}

impl Policy {
    /// These rules.
    pub const fn new(rules: Vec<Arc<dyn Rule>>) -> Self {
        Self { rules }
    }

    /// Asks every rule.
    ///
    /// # Errors
    /// `refused` with the reason of the first one that refuses.
    pub fn check(&self, permit: &Permit<Send>, message: &NewMessage) -> Result<()> {
        let refusals = self.rules.iter();
        match refusals
            .filter_map(|rule| rule.refuses(permit, message))
            .next()
        {
            None => Ok(()),
            Some(reason) => Err(Error::new(ErrorCode::Refused, reason)),
        }
    }
}
