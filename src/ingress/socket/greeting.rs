//! The beginning of a connection: its `hello`, who says it, and the welcome.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::answers;
use super::commands::Commands;
use super::reader::ReadError;
use super::wire::{Input, Wire};
use crate::access::Caller;
use crate::egress::attach::{Attached, pieces};
use crate::egress::send_queue::SendQueue;
use crate::egress::socket::Socket;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::auth::ticket;
use crate::ingress::limit::Asker;
use crate::ingress::limit::sockets::Place;
use crate::model::id::GroupId;
use crate::model::message::{MENTIONS_MAX, TEXT_CHARS_MAX};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::protocol::client::{ClientFrame, FRAME_BYTES_MAX, Hello};
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::json::NESTING_MAX;
use crate::protocol::server::{Limits, ServerFrame, Welcome};

/// How long a client may take to say `hello`.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// What this server understands beyond the beginnings of version 1.
const FEATURES: &[&str] = &["send", "read", "pull", "follow", "token", "typing"];

const LIMITS: Limits = Limits {
    frame_bytes: FRAME_BYTES_MAX,
    text_chars: TEXT_CHARS_MAX,
    nesting: NESTING_MAX,
    mentions: MENTIONS_MAX,
};

/// Whoever opened the connection.
#[derive(Debug)]
pub(super) struct Guest {
    /// From where.
    pub(super) address: Option<IpAddr>,
    /// The place among the sockets of that address, where they are counted.
    pub(super) place: Option<Place>,
}

/// A client that was welcomed: only now there are commands.
pub(super) struct Greeted {
    /// What it may ask for.
    pub(super) commands: Commands,
    /// Its place in the hub.
    pub(super) attached: Attached,
}

/// Greets a client, or turns it away: `None`.
///
/// # Errors
/// What came over the wire, or did not.
pub(super) async fn greet<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    leftover: Vec<u8>,
    guest: &mut Guest,
) -> std::result::Result<Option<Greeted>, ReadError> {
    wire.feed(leftover)?;
    let said = timeout(HELLO_PATIENCE, hello(app, wire, guest.address));
    let Some(said) = app.tasks.draining().run_until_cancelled(said).await else {
        answers::close_with(app, &wire.queue, close::RESTART, "drain");
        return Ok(None);
    };
    let late = || Error::new(ErrorCode::Unauthenticated, "no hello came within 5 seconds");
    let greeted = match said.unwrap_or_else(|_elapsed| Ok(Err(late())))? {
        Ok(proven) => admit(app, &wire.queue, proven, guest).await,
        Err(error) => Err(error),
    };
    let turned_away = |error| answers::turn_away(app, &wire.queue, &error);
    Ok(greeted.map_err(turned_away).ok())
}

/// A `hello`, who said it, and until when that holds, in milliseconds since the Unix epoch.
type Proven = (Hello, Caller, i64);

/// Waits for the first frame, which must be a good `hello`.
async fn hello<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    address: Option<IpAddr>,
) -> std::result::Result<Result<Proven>, ReadError> {
    let text = loop {
        match wire.take() {
            Some(text) => break text,
            None => wire.read().await?,
        }
    };
    app.metrics.frames_received.inc();
    Ok(match ClientFrame::parse(&text) {
        Ok(ClientFrame::Hello(hello)) => authenticate(app, hello, address).await,
        Ok(_) => Err(Error::field("type", "the first frame must be `hello`")),
        Err(refused) => Err(Error::from(refused.invalid)),
    })
}

async fn authenticate(app: &App, hello: Hello, address: Option<IpAddr>) -> Result<Proven> {
    let (caller, until) = match (&hello.token, &hello.ticket) {
        (Some(token), None) => app.auth.caller_of(token)?,
        (None, Some(ticket)) => by_ticket(app, ticket).await?,
        (Some(_), Some(_)) | (None, None) => {
            let detail = "exactly one of `token` and `ticket` must be given";
            return Err(Error::field("token", detail));
        }
    };
    let user = caller.user;
    app.limits.follow(Asker { address, user })?;
    Ok((hello, caller, until.as_millis()))
}

/// A ticket authorises for as long as a fresh access token would.
async fn by_ticket(app: &App, ticket: &str) -> Result<(Caller, Time)> {
    let (session, user) = app.accounts.take_ticket(&ticket::hash(ticket)).await?;
    let caller = Caller { user, session };
    app.auth.sessions.check(caller)?;
    let life_ms = i64::from(app.auth.tokens.life_s()) * 1000;
    let until = Time::from_millis(app.clock.now().as_millis() + life_ms);
    Ok((caller, until))
}

/// Lets a client in whose `hello` was good, and welcomes it.
async fn admit(
    app: &App,
    queue: &Arc<SendQueue>,
    (hello, caller, until): Proven,
    guest: &mut Guest,
) -> Result<Greeted> {
    if let Some(place) = &mut guest.place {
        place.greeted();
    }
    let socket = Arc::new(Socket::arriving(
        app.hub.next_socket_id(),
        caller,
        hello.device,
        Arc::clone(queue),
        until,
        app.metrics.clone(),
    ));
    socket.note_seen(app.hub.now_s());
    let attached = app.attach.enter(&socket);
    // From here on an end of the session finds the socket; one that came before is seen here.
    app.auth.sessions.check(caller)?;
    welcome(app, &socket, &hello.cursors).await?;
    let asker = Asker {
        address: guest.address,
        user: caller.user,
    };
    Ok(Greeted {
        commands: Commands::new(app.clone(), socket, asker),
        attached,
    })
}

async fn welcome(app: &App, socket: &Socket, cursors: &HashMap<GroupId, Position>) -> Result<()> {
    let (user, arrival) = app.attach.arrive(socket, cursors).await?;
    let (first, more) = pieces(&arrival.groups);
    socket.send(&ServerFrame::Welcome(Welcome {
        session: socket.caller.session,
        user: &user,
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
