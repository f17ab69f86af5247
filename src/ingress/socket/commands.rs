//! Frames of a greeted client, one function each. Each asks for a permit, calls one command or
//! read, and answers.

use std::sync::Arc;

use super::answers;
use crate::access::Read as ReadAccess;
use crate::egress::attach::pieces;
use crate::egress::socket::Socket;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::timeline::{self, Bounds};
use crate::model::id::GroupId;
use crate::model::position::Epoch;
use crate::pipeline::append::Attempt;
use crate::pipeline::commands::messages::NewMessage;
use crate::protocol::client::{ClientFrame, Follow, Pull, Read, Send, Token};
use crate::protocol::code::ErrorCode;
use crate::protocol::server::{ServerFrame, page};

/// A frame, and what was known when it came.
pub(super) struct Asked {
    /// The frame.
    pub(super) frame: ClientFrame,
    /// For a send: the epoch that the socket had been told (epochs.md rule 9).
    told: Option<Epoch>,
}

/// The commands of one socket.
pub(super) struct Commands {
    app: App,
    socket: Arc<Socket>,
}

impl Commands {
    /// Commands that answer on this socket.
    pub(super) const fn new(app: App, socket: Arc<Socket>) -> Self {
        Self { app, socket }
    }

    /// Parses one text; a client whose frame is not valid is told why.
    pub(super) fn parse(&self, text: &str) -> Option<Asked> {
        self.app.metrics.frames_received.inc();
        let parsed = ClientFrame::parse(text);
        let frame = parsed
            .map_err(|refused| {
                let error = Error::from(refused.invalid);
                answers::refuse(&self.app, &self.socket, refused.id, refused.group, &error);
            })
            .ok()?;
        let told = match &frame {
            ClientFrame::Send(send) => self.app.hub.told(&self.socket, send.group),
            _ => None,
        };
        Some(Asked { frame, told })
    }

    /// Handles one frame and answers it.
    ///
    /// # Errors
    /// The frame was not valid; the client was told.
    pub(super) async fn handle(&self, asked: Asked) -> Result<()> {
        let (id, group) = about(&asked.frame);
        if let Err(error) = self.run(asked).await {
            answers::refuse(&self.app, &self.socket, id, group, &error);
            if error.code == ErrorCode::BadRequest {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn run(&self, Asked { frame, told }: Asked) -> Result<()> {
        match frame {
            ClientFrame::Hello(_) => Err(Error::field("type", "`hello` was said already")),
            ClientFrame::Send(send) => self.send(send, told).await,
            ClientFrame::Read(read) => self.read(read).await,
            ClientFrame::Pull(pull) => self.pull(pull).await,
            ClientFrame::Follow(follow) => self.follow(follow).await,
            ClientFrame::Token(token) => self.token(&token).await,
        }
    }

    async fn send(&self, send: Send, told: Option<Epoch>) -> Result<()> {
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
        let under_way = self.app.receipts.under_way(group);
        let caller = self.socket.caller;
        let sent = self
            .app
            .messages
            .send(caller, group, &message, attempt)
            .await?;
        let receipt = &sent.receipt;
        let (pos, message, at) = (receipt.pos, receipt.message, receipt.at);
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

    async fn read(&self, read: Read) -> Result<()> {
        let caller = self.socket.caller;
        let permit = self
            .app
            .access
            .permit::<ReadAccess>(caller, read.group)
            .await?;
        self.app.reads.mark(&permit, read.pos).await?;
        if let Some(id) = read.id {
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
        self.socket
            .send_text(&page(id, group, &found.entries, found.more));
        Ok(())
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

    async fn token(&self, token: &Token) -> Result<()> {
        let (caller, until) = self.app.auth.tokens.verify(&token.token)?;
        self.app.auth.sessions.check(caller).await?;
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
        ClientFrame::Token(token) => (Some(token.id), None),
    }
}
