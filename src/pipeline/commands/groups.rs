//! Groups: founding and renaming.

use std::sync::Arc;

use super::members::settle;
use crate::access::{Access, Caller, ChangeSettings, Permit};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::id::{GroupId, MerchantId, UserId};
use crate::model::name::ShownName;
use crate::model::trace::Trace;
use crate::pipeline::outbox::Outbox;
use crate::protocol::code::ErrorCode;
use crate::store::directory::{Directory, NewGroup};

/// A group that somebody asks for.
#[derive(Debug)]
pub struct Founding {
    /// The name shown.
    pub name: ShownName,
    /// Who is in it beside the founder.
    pub members: Vec<UserId>,
    /// The merchant; may be left out by staff of one.
    pub merchant: Option<MerchantId>,
}

/// Founds and renames groups.
#[derive(Clone)]
pub struct Groups {
    directory: Arc<dyn Directory>,
    outbox: Outbox,
    access: Access,
    clock: Arc<dyn Clock>,
}

impl Groups {
    /// Groups of this directory.
    pub fn new(
        directory: Arc<dyn Directory>,
        outbox: Outbox,
        access: Access,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            directory,
            outbox,
            access,
            clock,
        }
    }

    /// Founds a group: the caller, who must be staff of the merchant, becomes its owner.
    ///
    /// # Errors
    /// `forbidden` for who is no staff, `not_found` for an unknown merchant or person (then
    /// nothing is made), `bad_request` for staff of several merchants who name none.
    pub async fn found(&self, caller: Caller, asked: Founding, trace: Trace) -> Result<GroupId> {
        let merchant = self.merchant_for(caller, asked.merchant).await?;
        let at = self.clock.now();
        let new = NewGroup {
            id: GroupId::generate(at),
            merchant,
            name: asked.name.as_str().to_owned(),
            at,
            creator: caller.user,
            members: asked.members,
        };
        let group = new.id;
        let rows = settle(self.directory.create_group(new).await?)?;
        self.outbox.append(&rows, Some(trace)).await?;
        self.access.forget(group, caller.user);
        Ok(group)
    }

    async fn merchant_for(&self, caller: Caller, named: Option<MerchantId>) -> Result<MerchantId> {
        let staffed = self.directory.merchants_of(caller.user).await?;
        match (named, staffed.as_slice()) {
            (Some(named), staffed) => {
                let known = staffed.iter().any(|merchant| merchant.id == named);
                known
                    .then_some(named)
                    .ok_or_else(|| Error::not_found("merchant"))
            }
            (None, [only]) => Ok(only.id),
            (None, []) => {
                let detail = "only staff of a merchant may found groups";
                Err(Error::new(ErrorCode::Forbidden, detail))
            }
            (None, _) => Err(Error::field(
                "merchant",
                "must be given by staff of several",
            )),
        }
    }

    /// Renames a group.
    ///
    /// # Errors
    /// `busy` when a store does not answer.
    pub async fn rename(
        &self,
        permit: Permit<ChangeSettings>,
        name: &ShownName,
        trace: Trace,
    ) -> Result<()> {
        let (group, actor) = (permit.group(), permit.caller().user);
        let at = self.clock.now();
        let changed = self
            .directory
            .rename_group(group, actor, name.as_str(), at)
            .await?;
        self.outbox.append(&settle(changed)?, Some(trace)).await?;
        Ok(())
    }
}
