//! Frames of a greeted client, one function each. Each asks for a permit, calls one command or
//! read, and answers.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::answers;
use crate::access::{Permit, Read as ReadAccess, Send as SendAccess};
use crate::egress::attach::pieces;
use crate::egress::socket::Socket;
use crate::error::{Busy, Error, Result};
use crate::ingress::app::App;
use crate::ingress::limit::Asker;
use crate::ingress::timeline::{self, Bounds};
use crate::model::hint::HintKind;
use crate::model::id::GroupId;
use crate::model::position::Epoch;
use crate::model::trace::Trace;
use crate::pipeline::append::Attempt;
use crate::pipeline::commands::messages::NewMessage;
use crate::protocol::client::{ClientFrame, Follow, Pull, Read, Send, Token, Typing};
use crate::protocol::code::ErrorCode;
use crate::protocol::server::{ServerFrame, page};

/// How long an `accepted` waits until its socket was told the epoch: what else is sent over it waits
/// behind, and a client can do with it.
const ACCEPTED_PATIENCE: Duration = Duration::from_millis(100);

/// How long a page waits for that. It is refused then: to a client an event of an epoch that it was not
/// told is a fault.
const PAGE_PATIENCE: Duration = Duration::from_secs(1);

/// A frame, and what was known when it came.
pub(super) struct Asked {
    /// The frame.
    pub(super) frame: ClientFrame,
    /// For a send: the epoch that the socket had been told (epochs.md rule 9).
    pub(super) told: Option<Epoch>,
    /// For a read mark: further ids that its answer answers.
    pub(super) also: Vec<u64>,
}

/// A frame that a client should not have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offence {
    /// It was not valid.
    Invalid,
    /// It came too soon after others.
    TooOften,
}

/// The commands of one socket.
pub(super) struct Commands {
    app: App,
    /// Where they answer.
    pub(super) socket: Arc<Socket>,
    /// Whose budgets they spend.
    asker: Asker,
}

impl Commands {
    /// Commands that answer on this socket.
    pub(super) const fn new(app: App, socket: Arc<Socket>, asker: Asker) -> Self {
        Self { app, socket, asker }
    }

    /// Spends one read mark of the user's budget, or says how long to wait.
    pub(super) fn spend_read(&self) -> std::result::Result<(), Duration> {
        let spent = self.app.limits.read(self.asker);
        spent.map_err(|error| Duration::from_millis(error.retry_after_ms.unwrap_or_default()))
    }

    /// Whether this typing is to be told. One that comes too soon, or is over the user's budget, is
    /// dropped: it is the first thing that may be.
    pub(super) fn is_typing_due(&self, typing: &Typing) -> bool {
        let (hints, user) = (&self.app.hints, self.socket.caller.user);
        if !hints.is_typing_due(user, typing.group) {
            return false;
        }
        let is_within_budget = self.app.limits.other(self.asker).is_ok();
        if !is_within_budget {
            hints.count_dropped("limit", 1);
        }
        is_within_budget
    }

    /// Parses one text; a client whose frame is not valid is told why.
    pub(super) fn parse(&self, text: &str) -> Option<Asked> {
        self.app.metrics.frames_received.inc();
        let parsed = ClientFrame::parse(text);
        let frame = parsed
            .map_err(|refused| {
                let error = Error::from(refused.invalid);
                let trace = self.app.traces.entry("frame", None).trace();
                let (id, group) = (refused.id, refused.group);
                answers::refuse(&self.app, &self.socket, id, group, &error, trace.id);
            })
            .ok()?;
        let told = match &frame {
            ClientFrame::Send(send) => self.app.hub.told(&self.socket, send.group),
            _ => None,
        };
        Some(Asked {
            frame,
            told,
            also: Vec::new(),
        })
    }

    /// Handles one frame and answers it.
    ///
    /// # Errors
    /// The client should not have sent it; it was told.
    pub(super) async fn handle(&self, asked: Asked) -> std::result::Result<(), Offence> {
        let (id, group) = about(&asked.frame);
        let also = asked.also.clone();
        let name = asked.frame.name();
        let mut span = self.app.traces.entry(format!("frame {name}"), None);
        let trace = span.trace();
        // Of the highest level, so that no line of the frame is without it.
        let log_span = tracing::error_span!("frame", trace = %trace.id, name);
        let run = self.run(asked, trace).instrument(log_span);
        let Err(error) = run.await else {
            return Ok(());
        };
        span.fail(error.code.name());
        for id in also.into_iter().map(Some).chain([id]) {
            answers::refuse(&self.app, &self.socket, id, group, &error, trace.id);
        }
        match error.code {
            ErrorCode::BadRequest => Err(Offence::Invalid),
            ErrorCode::RateLimited => Err(Offence::TooOften),
            _ => Ok(()),
        }
    }

    /// A session that was ended asks nothing any more, nor one of which that cannot be known.
    async fn run(&self, Asked { frame, told, also }: Asked, trace: Trace) -> Result<()> {
        self.app.auth.sessions.check(self.socket.caller)?;
        self.spend(&frame)?;
        match frame {
            ClientFrame::Hello(_) => Err(Error::field("type", "`hello` was said already")),
            ClientFrame::Send(send) => self.send(send, told, trace).await,
            ClientFrame::Read(read) => self.read(read, also).await,
            ClientFrame::Pull(pull) => self.pull(pull).await,
            ClientFrame::Follow(follow) => self.follow(follow).await,
            ClientFrame::Typing(typing) => self.typing(&typing).await,
            ClientFrame::Token(token) => self.token(&token),
        }
    }

    /// What a frame costs its user. Read marks and typing were paid for before they came here.
    fn spend(&self, frame: &ClientFrame) -> Result<()> {
        let (limits, asker) = (&self.app.limits, self.asker);
        match frame {
            ClientFrame::Send(_) => limits.message(asker),
            ClientFrame::Pull(_) => limits.page(asker),
            ClientFrame::Follow(_) => limits.follow(asker),
            ClientFrame::Token(_) => limits.other(asker),
            ClientFrame::Hello(_) | ClientFrame::Read(_) | ClientFrame::Typing(_) => Ok(()),
        }
    }

    async fn send(&self, send: Send, told: Option<Epoch>, trace: Trace) -> Result<()> {
        let Send {
            id,
            group,
            client_id,
            body,
            reply_to,
            mentions,
            again,
            ..
        } = send;
        let attempt = match (again, told) {
            (Some(from), _) => Attempt::Again { from },
            (None, Some(told)) => Attempt::First { told },
            (None, None) => Attempt::Unknown,
        };
        let message = NewMessage {
            client_id,
            body,
            reply_to,
            mentions,
        };
        let permit = self.app.access.permit_send(self.socket.caller, group);
        let permit = permit.await?;
        self.app.limits.group_message(self.asker, group)?;
        let under_way = self.app.receipts.under_way(group);
        let sent = self.app.messages.send(permit, &message, attempt, trace);
        let sent = sent.await?;
        let receipt = &sent.receipt;
        let (pos, message, at) = (receipt.pos, receipt.message, receipt.at);
        self.until_told(group, pos.epoch, ACCEPTED_PATIENCE).await;
        self.socket.send(&ServerFrame::Accepted {
            id,
            group,
            pos,
            message,
            at,
        });
        under_way.accepted(&self.socket, receipt);
        Ok(())
    }

    async fn read(&self, read: Read, also: Vec<u64>) -> Result<()> {
        let caller = self.socket.caller;
        let permit = self
            .app
            .access
            .permit::<ReadAccess>(caller, read.group)
            .await?;
        self.app.reads.mark(&permit, read.pos).await?;
        for id in also.into_iter().chain(read.id) {
            self.done(id);
        }
        Ok(())
    }

    async fn pull(&self, pull: Pull) -> Result<()> {
        let Pull {
            id,
            group,
            after,
            before,
            limit,
            ..
        } = pull;
        let caller = self.socket.caller;
        let permit = self.app.access.permit::<ReadAccess>(caller, group).await?;
        let bounds = match (after, before) {
            (Some(after), _) => Bounds::After(after),
            (None, before) => Bounds::Before(before),
        };
        let found = timeline::read(&self.app, &permit, bounds, limit).await?;
        let newest = found.entries.iter().map(|entry| entry.pos.epoch).max();
        let newest = newest.unwrap_or_default();
        if !self.until_told(group, newest, PAGE_PATIENCE).await {
            let detail = "the group's log was opened again and is not followed yet; try again";
            return Err(Error::busy(Busy::Log, detail, 1000));
        }
        self.socket
            .send_text(&page(id, group, &found.entries, found.more));
        Ok(())
    }

    /// Waits until this socket was told an epoch of a group: nothing of it may come before.
    async fn until_told(&self, group: GroupId, epoch: Epoch, patience: Duration) -> bool {
        let hub = &self.app.hub;
        hub.until_told(&self.socket, (group, epoch), patience).await
    }

    async fn follow(&self, follow: Follow) -> Result<()> {
        let Follow {
            id, groups, level, ..
        } = follow;
        let followed = self.app.attach.follow(&self.socket, &groups, level).await;
        let arrival = match followed {
            Ok(arrival) => arrival,
            Err(error) => {
                self.socket.release(&std::collections::HashMap::new());
                return Err(error);
            }
        };
        let (first, _) = pieces(&arrival.groups);
        self.socket.send(&ServerFrame::Done {
            id,
            groups: Some(first),
        });
        self.app.attach.deliver(&self.socket, arrival);
        Ok(())
    }

    /// As with a send, and compared with the log at once: nothing else will refuse it later.
    async fn typing(&self, typing: &Typing) -> Result<()> {
        let caller = self.socket.caller;
        let permit: Permit<SendAccess> = self.app.access.permit(caller, typing.group).await?;
        let (user, groups) = (permit.caller().user, vec![permit.group()]);
        self.app.hints.offer(HintKind::Typing, user, groups);
        Ok(())
    }

    fn token(&self, token: &Token) -> Result<()> {
        let (caller, until) = self.app.auth.caller_of(&token.token)?;
        if caller != self.socket.caller {
            let detail = "the token belongs to another session; open another socket for it";
            return Err(Error::new(ErrorCode::Unauthenticated, detail));
        }
        self.socket.authorise_until(until.as_millis());
        self.done(token.id);
        Ok(())
    }

    fn done(&self, id: u64) {
        self.socket.send(&ServerFrame::Done { id, groups: None });
    }
}

/// What an answer refers to.
const fn about(frame: &ClientFrame) -> (Option<u64>, Option<GroupId>) {
    match frame {
        ClientFrame::Hello(_) => (None, None),
        ClientFrame::Send(send) => (Some(send.id), Some(send.group)),
        ClientFrame::Read(read) => (read.id, Some(read.group)),
        ClientFrame::Pull(pull) => (Some(pull.id), Some(pull.group)),
        ClientFrame::Follow(follow) => (Some(follow.id), None),
        ClientFrame::Typing(typing) => (None, Some(typing.group)),
        ClientFrame::Token(token) => (Some(token.id), None),
    }
}
