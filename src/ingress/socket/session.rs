//! One connected client, from `hello` to the close. Being greeted is a type of its own: before
//! `hello` there are no commands.
//!
//! Inputs of the loop: draining, the queue's end, the two lanes of commands, bytes of the client.
//! Sends run one at a time, so that those of one connection keep their order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::commands::Commands;
use super::lane::Lane;
use super::reader::ReadError;
use super::wire::Wire;
use super::{answers, closing};
use crate::access::Caller;
use crate::egress::attach::{Attached, pieces};
use crate::egress::send_queue::{Pushed, SendQueue, Unsent};
use crate::egress::socket::Socket;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::model::message::{MENTIONS_MAX, TEXT_CHARS_MAX};
use crate::protocol::client::{ClientFrame, FRAME_BYTES_MAX, Hello};
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::json::NESTING_MAX;
use crate::protocol::server::{Limits, ServerFrame, Welcome};
use crate::protocol::websocket::close::CloseReason;
use crate::protocol::websocket::encode::close_frame;

/// How long a client may take to say `hello`.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long a closing connection may take to read what it is owed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a command under way may take when the server drains.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// Clients are told to come back within this time after a drain, spread evenly.
const RECONNECT_SPREAD_MS: u64 = 3_000;

/// Invalid frames within a minute before the client is closed.
const INVALID_MAX: u32 = 100;

/// What this server understands beyond the beginnings of version 1.
const FEATURES: &[&str] = &["send", "read", "pull", "follow", "token"];

const LIMITS: Limits = Limits {
    frame_bytes: FRAME_BYTES_MAX,
    text_chars: TEXT_CHARS_MAX,
    nesting: NESTING_MAX,
    mentions: MENTIONS_MAX,
};

/// How a conversation ended: in good order, or by what came over the wire.
type Ended = std::result::Result<(), ReadError>;

/// Serves one connection until it ends.
pub async fn serve(app: &App, stream: TcpStream, leftover: Vec<u8>) {
    let (input, output) = stream.into_split();
    let queue = Arc::new(SendQueue::new(output, app.hub.options.queue_bytes_max));
    let mut wire = Wire::new(input, Arc::clone(&queue));
    app.metrics.sockets_open.inc();
    if let Err(error) = converse(app, &mut wire, &queue, leftover).await {
        end(app, &queue, &error);
    }
    closing::finish(&mut wire.input, &queue, CLOSE_GRACE).await;
    app.metrics.sockets_open.dec();
}

async fn converse(app: &App, wire: &mut Wire, queue: &Arc<SendQueue>, leftover: Vec<u8>) -> Ended {
    wire.feed(leftover)?;
    let greeting = timeout(HELLO_PATIENCE, Box::pin(greet(app, wire)));
    let draining = app.tasks.draining().clone();
    let Some(greeted) = draining.run_until_cancelled(greeting).await else {
        close_unused(queue);
        return Ok(());
    };
    let (hello, caller, until) = match greeted {
        Ok(Ok(Ok(greeting))) => greeting,
        Ok(Ok(Err(error))) => {
            refuse(queue, &error);
            return Ok(());
        }
        Ok(Err(error)) => return Err(error),
        Err(_elapsed) => {
            let late = Error::new(ErrorCode::Unauthenticated, "no hello came within 5 seconds");
            refuse(queue, &late);
            return Ok(());
        }
    };
    let socket = Arc::new(Socket::arriving(
        app.hub.next_socket_id(),
        caller,
        hello.device.clone(),
        Arc::clone(queue),
        until,
        app.metrics.clone(),
    ));
    socket.note_seen(app.hub.now_s());
    let attached = app.attach.enter(&socket);
    let talked = talk(app, wire, &socket, hello).await;
    leave(app, &socket, attached);
    talked
}

fn leave(app: &App, socket: &Socket, attached: Attached) {
    drop(attached);
    app.receipts.forget(socket.id);
}

type Greeting = Result<(Hello, Caller, i64)>;

/// Waits for the first frame, which must be a good `hello`.
async fn greet(app: &App, wire: &mut Wire) -> std::result::Result<Greeting, ReadError> {
    let text = loop {
        match wire.take() {
            Some(text) => break text,
            None => wire.read().await?,
        }
    };
    app.metrics.frames_received.inc();
    Ok(match ClientFrame::parse(&text) {
        Ok(ClientFrame::Hello(hello)) => authenticate(app, hello).await,
        Ok(_) => Err(Error::field("type", "the first frame must be `hello`")),
        Err(refused) => Err(Error::from(refused.invalid)),
    })
}

async fn authenticate(app: &App, hello: Hello) -> Greeting {
    let (caller, until) = app.auth.tokens.verify(&hello.token)?;
    app.auth.sessions.check(caller).await?;
    Ok((hello, caller, until.as_millis()))
}

/// The welcome, then the loop.
async fn talk(app: &App, wire: &mut Wire, socket: &Arc<Socket>, hello: Hello) -> Ended {
    if let Err(error) = Box::pin(welcome(app, socket, hello)).await {
        answers::refuse(app, socket, None, None, &error);
        socket.close_with(close::RESTART, "try again", Unsent::Deliver);
        return Ok(());
    }
    let commands = Commands::new(app.clone(), Arc::clone(socket));
    let mut invalid = Invalid::default();
    let (mut sends, mut others) = (Lane::default(), Lane::default());
    loop {
        while sends.has_room()
            && others.has_room()
            && let Some(text) = wire.take()
        {
            match commands.parse(&text) {
                Some(asked) if matches!(asked.frame, ClientFrame::Send(_)) => sends.add(asked),
                Some(asked) => others.add(asked),
                None => invalid.note(app.hub.now_s()),
            }
        }
        if invalid.is_abuse() {
            abuse(socket);
            return Ok(());
        }
        let has_room = sends.has_room() && others.has_room();
        tokio::select! {
            biased;
            () = app.tasks.draining().cancelled() => break,
            ended = socket.queue.pump() => return ended.map_err(ReadError::Io),
            done = sends.run(&commands) => invalid.note_if(done.is_err(), app.hub.now_s()),
            done = others.run(&commands) => invalid.note_if(done.is_err(), app.hub.now_s()),
            read = wire.read(), if has_room => {
                read?;
                socket.note_seen(app.hub.now_s());
            }
        }
    }
    // What the client sent is finished, and it is told.
    let both = async { tokio::join!(sends.finish(&commands), others.finish(&commands)) };
    drop(timeout(DRAIN_GRACE, both).await);
    say_goodbye(socket);
    Ok(())
}

async fn welcome(app: &App, socket: &Socket, hello: Hello) -> Result<()> {
    let user = socket.caller.user;
    let arrival = app.attach.arrive(socket, &hello.cursors).await?;
    let users = app.directory.users(&[user]).await?;
    let user = users.first().ok_or_else(|| Error::not_found("user"))?;
    let (first, more) = pieces(&arrival.groups);
    socket.send(&ServerFrame::Welcome(Welcome {
        session: socket.caller.session,
        user,
        time: app.clock.now(),
        heartbeat_s: app.hub.options.heartbeat_s,
        limits: LIMITS,
        features: FEATURES,
        groups: first,
        more: first.len() < arrival.groups.len(),
    }));
    for groups in more {
        socket.send(&ServerFrame::WelcomeMore { groups });
    }
    app.attach.deliver(socket, arrival);
    Ok(())
}

/// Tells the client to come back, each at its own time.
fn say_goodbye(socket: &Socket) {
    let reconnect_after_ms = socket.id.wrapping_mul(7919) % RECONNECT_SPREAD_MS;
    socket.send(&ServerFrame::Goaway {
        reason: "drain",
        reconnect_after_ms,
    });
    socket.close_with(close::RESTART, "drain", Unsent::Deliver);
}

fn abuse(socket: &Socket) {
    if let Some(code) = ErrorCode::BadRequest.close_code() {
        socket.close_with(code, "too many invalid frames", Unsent::Deliver);
    }
}

/// Counts invalid frames by the minute.
#[derive(Default)]
struct Invalid {
    minute: u64,
    count: u32,
}

impl Invalid {
    fn note(&mut self, now_s: u64) {
        if now_s / 60 != self.minute {
            *self = Self {
                minute: now_s / 60,
                count: 0,
            };
        }
        self.count += 1;
    }

    fn note_if(&mut self, is_invalid: bool, now_s: u64) {
        if is_invalid {
            self.note(now_s);
        }
    }

    const fn is_abuse(&self) -> bool {
        self.count >= INVALID_MAX
    }
}

/// Refuses a connection that was not greeted.
fn refuse(queue: &SendQueue, error: &Error) {
    let frame = answers::error_frame(None, None, error, None);
    push_last(queue, &frame);
    let code = error.code.close_code().unwrap_or(close::RESTART);
    let reason = CloseReason {
        code,
        reason: error.code.name(),
    };
    queue.close(&close_frame(Some(reason)), Unsent::Deliver);
}

/// Closes a connection that was not greeted before the server drained.
fn close_unused(queue: &SendQueue) {
    let reason = CloseReason {
        code: close::RESTART,
        reason: "drain",
    };
    queue.close(&close_frame(Some(reason)), Unsent::Deliver);
}

/// What follows a broken protocol: the error, then the close with its code.
fn end(app: &App, queue: &SendQueue, error: &ReadError) {
    let ReadError::Protocol(fault) = error else {
        return;
    };
    let detail = fault.to_string();
    let code = fault.close_code();
    let error_code = match code {
        code if Some(code) == ErrorCode::TooLarge.close_code() => ErrorCode::TooLarge,
        code if Some(code) == ErrorCode::Unsupported.close_code() => ErrorCode::Unsupported,
        _ => ErrorCode::BadRequest,
    };
    app.metrics
        .request_errors
        .with_label_values(&[error_code.name()])
        .inc();
    app.metrics
        .sockets_closed
        .with_label_values(&[&code.get().to_string()])
        .inc();
    let error = Error::new(error_code, &*detail);
    push_last(queue, &answers::error_frame(None, None, &error, None));
    let reason = CloseReason {
        code,
        reason: &detail,
    };
    queue.close(&close_frame(Some(reason)), Unsent::Deliver);
}

/// Sends a frame before a close. A socket that does not even take this is ended as it stands.
fn push_last(queue: &SendQueue, frame: &Bytes) {
    if queue.push(frame) == Pushed::Full {
        queue.abort();
    }
}
