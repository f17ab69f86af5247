//! Sending messages.

use std::sync::Arc;

use crate::access::{Access, Permit, Send};
use crate::clock::Clock;
use crate::error::{Busy, Error, Result};
use crate::model::client_id::ClientId;
use crate::model::event::{Content, Draft, Fixed};
use crate::model::id::{GroupId, MessageId};
use crate::model::message::{Body, Mentions};
use crate::model::permission::Action;
use crate::model::position::Position;
use crate::model::trace::Trace;
use crate::pipeline::append::{Appender, Attempt, Placed, Request};
use crate::pipeline::policy::Policy;
use crate::protocol::code::ErrorCode;
use crate::store::counts::Counts;
use crate::store::history::History;
use crate::store::log::Receipt;

/// A message that somebody wants to send, already within its bounds
/// ([`crate::protocol::client::validate_message`]).
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The idempotency key.
    pub client_id: ClientId,
    /// What is said.
    pub body: Body,
    /// The event that is answered.
    pub reply_to: Option<Position>,
    /// Who is mentioned.
    pub mentions: Mentions,
}

/// A message that stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Where it stands.
    pub receipt: Receipt,
    /// Whether this call put it there.
    pub is_new: bool,
}

/// Sends messages.
#[derive(Clone)]
pub struct Messages {
    access: Access,
    appender: Arc<Appender>,
    history: History,
    counts: Counts,
    policy: Policy,
    clock: Arc<dyn Clock>,
}

impl Messages {
    /// Sends through this appender.
    pub fn new(
        access: Access,
        appender: Arc<Appender>,
        history: History,
        counts: Counts,
        policy: Policy,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            access,
            appender,
            history,
            counts,
            policy,
            clock,
        }
    }

    /// Sends one message, once, however often it is asked for under the same `client_id`. The
    /// permit is renewed where the log knows of a later change of rights.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `refused`, `bad_request` for a reply to nothing, `conflict`, `busy`, and
    /// `internal` with an unknown outcome.
    pub async fn send(
        &self,
        mut permit: Permit<Send>,
        message: &NewMessage,
        attempt: Attempt,
        trace: Trace,
    ) -> Result<Sent> {
        let (caller, group) = (permit.caller(), permit.group());
        let attempt = self.checked(group, attempt).await?;
        self.check_reply(&permit, message).await?;
        let mut request = Request {
            draft: self.draft(&permit, message),
            rights: Some(permit.rights()),
            attempt,
            trace,
        };
        if check_mentions(&permit, message).is_err() {
            // Nothing compares a refusal with the log: whoever was given a role must have it here.
            permit = self.access.permit(caller, group).await?;
            request.rights = Some(permit.rights());
        }
        // Rights may change again while the permit is renewed, but not for ever.
        for _ in 0..4 {
            check_mentions(&permit, message)?;
            self.policy.check(&permit, message)?;
            match self.appender.append(&request).await? {
                Placed::New(receipt) => {
                    return Ok(Sent {
                        receipt,
                        is_new: true,
                    });
                }
                Placed::Repeat(receipt) => {
                    return Ok(Sent {
                        receipt,
                        is_new: false,
                    });
                }
                Placed::RightsChanged(at) => {
                    permit = self.access.permit_under(caller, group, at).await?;
                    request.rights = Some(permit.rights());
                }
            }
        }
        Err(Error::busy(
            Busy::Race,
            "the group's members change too quickly; try again",
            200,
        ))
    }

    fn draft(&self, permit: &Permit<Send>, message: &NewMessage) -> Draft {
        let at = self.clock.now();
        let content = Content::Message {
            id: MessageId::generate(at),
            body: message.body.clone(),
            reply_to: message.reply_to,
            mentions: message.mentions.clone(),
        };
        let sender = permit.caller().user;
        let fixed = Fixed {
            client_id: message.client_id,
            sender,
            at,
            content,
        };
        Draft {
            group: permit.group(),
            fixed,
        }
    }

    /// A head of the first try that lies above everything is ignored (protocol.md,
    /// "Identifiers and positions").
    async fn checked(&self, group: GroupId, attempt: Attempt) -> Result<Attempt> {
        let Attempt::Again { from } = attempt else {
            return Ok(attempt);
        };
        let head = self.counts.head(group).await?;
        Ok(if from <= head.pos {
            attempt
        } else {
            Attempt::Unknown
        })
    }

    /// A reply must refer to an event that the sender can see.
    async fn check_reply(&self, permit: &Permit<Send>, message: &NewMessage) -> Result<()> {
        let Some(target) = message.reply_to else {
            return Ok(());
        };
        let hidden = target <= permit.visible_after();
        if !hidden && self.history.at(permit.group(), target).await?.is_some() {
            return Ok(());
        }
        let table = self.history.table(permit.group()).await?;
        let is_dead = target.epoch <= table.epoch() && !table.is_valid(target);
        if is_dead && !hidden {
            let valid = table.valid_up_to(target);
            return Err(Error::dead("reply_to: this position was lost", valid));
        }
        Err(Error::field(
            "reply_to",
            "there is no event at this position",
        ))
    }
}

fn check_mentions(permit: &Permit<Send>, message: &NewMessage) -> Result<()> {
    if message.mentions.is_all() && !Action::MentionAll.is_allowed_to(permit.role()) {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "mentions: you may not mention everyone",
        ));
    }
    Ok(())
}
