//! One connected client, from `hello` to the close. Being greeted is a type of its own: before
//! `hello` there are no commands.
//!
//! Inputs of the loop: draining, the queue's end, the two lanes of commands, read marks whose time
//! has come, bytes of the client.
//! Sends run one at a time, so that those of one connection keep their order.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

use super::commands::{Asked, Commands, Offence};
use super::lane::Lane;
use super::marks::Marks;
use super::offences::Offences;
use super::reader::ReadError;
use super::wire::Wire;
use super::{answers, closing};
use crate::access::Caller;
use crate::egress::attach::{Attached, pieces};
use crate::egress::send_queue::{Pushed, SendQueue, Unsent};
use crate::egress::socket::{Socket, close_queue};
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::auth::ticket;
use crate::ingress::limit::Asker;
use crate::ingress::limit::sockets::Place;
use crate::ingress::refusals;
use crate::model::message::{MENTIONS_MAX, TEXT_CHARS_MAX};
use crate::model::time::Time;
use crate::protocol::client::{ClientFrame, FRAME_BYTES_MAX, Hello};
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::json::NESTING_MAX;
use crate::protocol::server::{Limits, ServerFrame, Welcome};
use crate::protocol::websocket::close::{CloseCode, CloseReason};

/// How long a client may take to say `hello`.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);

/// How long a closing connection may take to read what it is owed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a command under way may take when the server drains.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// Clients are told to come back within a time after a drain, spread evenly: a millisecond for each
/// socket of this node, within these bounds.
const RECONNECT_SPREAD_MS: RangeInclusive<u64> = 3_000..=30_000;

/// What this server understands beyond the beginnings of version 1.
const FEATURES: &[&str] = &["send", "read", "pull", "follow", "token", "typing"];

const LIMITS: Limits = Limits {
    frame_bytes: FRAME_BYTES_MAX,
    text_chars: TEXT_CHARS_MAX,
    nesting: NESTING_MAX,
    mentions: MENTIONS_MAX,
};

/// How a conversation ended: in good order, or by what came over the wire.
type Ended = std::result::Result<(), ReadError>;

/// The reading end of a stream, plain or TLS.
pub trait Input: AsyncRead + Unpin + Send {}

impl<R: AsyncRead + Unpin + Send> Input for R {}

/// A connection that no longer speaks HTTP.
#[derive(Debug)]
pub struct Opened<R> {
    /// Its reading end.
    pub input: R,
    /// Its writing end.
    pub queue: SendQueue,
    /// What was read already.
    pub leftover: Vec<u8>,
}

/// Whoever opened the connection.
#[derive(Debug)]
pub struct Guest {
    /// From where.
    pub address: Option<IpAddr>,
    /// The place among the sockets of that address, where they are counted.
    pub place: Option<Place>,
}

/// Serves one connection until it ends.
pub async fn serve<R: Input>(app: &App, opened: Opened<R>, mut guest: Guest) {
    let Opened {
        input,
        queue,
        leftover,
    } = opened;
    let queue = Arc::new(queue);
    let mut wire = Wire::new(input, Arc::clone(&queue));
    app.metrics.sockets_open.inc();
    if let Err(error) = converse(app, &mut wire, &queue, leftover, &mut guest).await {
        end(app, &queue, &error);
    }
    closing::finish(&mut wire.input, &queue, CLOSE_GRACE).await;
    app.metrics.sockets_open.dec();
}

async fn converse<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    queue: &Arc<SendQueue>,
    leftover: Vec<u8>,
    guest: &mut Guest,
) -> Ended {
    wire.feed(leftover)?;
    let greeting = timeout(HELLO_PATIENCE, Box::pin(greet(app, wire, guest.address)));
    let draining = app.tasks.draining().clone();
    let Some(greeted) = draining.run_until_cancelled(greeting).await else {
        close(app, queue, close::RESTART, "drain");
        return Ok(());
    };
    let (hello, caller, until) = match greeted {
        Ok(Ok(Ok(greeting))) => greeting,
        Ok(Ok(Err(error))) => {
            refuse(app, queue, &error);
            return Ok(());
        }
        Ok(Err(error)) => return Err(error),
        Err(_elapsed) => {
            let late = Error::new(ErrorCode::Unauthenticated, "no hello came within 5 seconds");
            refuse(app, queue, &late);
            return Ok(());
        }
    };
    if let Some(place) = &mut guest.place {
        place.greeted();
    }
    let asker = Asker {
        address: guest.address,
        user: caller.user,
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
    // From here on an end of the session finds the socket; one that came before is seen here.
    let talked = match app.auth.sessions.check(caller) {
        Ok(()) => talk(app, wire, &socket, hello, asker).await,
        Err(error) => {
            refuse(app, queue, &error);
            Ok(())
        }
    };
    leave(app, &socket, attached);
    talked
}

fn leave(app: &App, socket: &Socket, attached: Attached) {
    drop(attached);
    app.receipts.forget(socket.id);
}

type Greeting = Result<(Hello, Caller, i64)>;

/// Waits for the first frame, which must be a good `hello`.
async fn greet<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    address: Option<IpAddr>,
) -> std::result::Result<Greeting, ReadError> {
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

async fn authenticate(app: &App, hello: Hello, address: Option<IpAddr>) -> Greeting {
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

/// The welcome, then the loop, then what was begun.
async fn talk<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    socket: &Arc<Socket>,
    hello: Hello,
    asker: Asker,
) -> Ended {
    if let Err(error) = Box::pin(welcome(app, socket, hello)).await {
        let trace = app.traces.entry("frame hello", None).trace();
        answers::refuse(app, socket, None, None, &error, trace.id);
        socket.close_with(close_code(&error), error.code.name(), Unsent::Deliver);
        return Ok(());
    }
    let commands = Commands::new(app.clone(), Arc::clone(socket), asker);
    let mut under_way = UnderWay::default();
    let ended = listen(app, wire, socket, &commands, &mut under_way).await;
    let is_drain = matches!(ended, Ok(Over::Draining));
    // What the client sent is finished at a drain, and it is told; else its read marks are.
    // Boxed: it holds whole commands, and an idle socket would carry the room for them.
    let finishing = Box::pin(under_way.finish(&commands, is_drain));
    drop(timeout(DRAIN_GRACE, finishing).await);
    if is_drain {
        say_goodbye(socket, app.hub.socket_count());
    }
    ended.map(drop)
}

/// How listening ended in good order.
enum Over {
    /// The socket was closed.
    Closed,
    /// The server drains.
    Draining,
}

/// What was asked and is not done.
#[derive(Default)]
struct UnderWay<'a> {
    sends: Lane<'a>,
    others: Lane<'a>,
    marks: Marks,
}

impl<'a> UnderWay<'a> {
    fn has_room(&self) -> bool {
        self.sends.has_room() && self.others.has_room() && self.marks.has_room()
    }

    fn add(&mut self, asked: Asked, commands: &Commands) {
        match asked.frame {
            ClientFrame::Send(_) => self.sends.add(asked),
            ClientFrame::Read(mark) => {
                let now = Instant::now();
                let asked = self.marks.add(mark, now, || commands.spend_read());
                asked.into_iter().for_each(|asked| self.others.add(asked));
            }
            ClientFrame::Typing(ref typing) if !commands.is_typing_due(typing) => {}
            _ => self.others.add(asked),
        }
    }

    fn add_due(&mut self, commands: &Commands) {
        let due = self
            .marks
            .take_due(Instant::now(), || commands.spend_read());
        due.into_iter().for_each(|asked| self.others.add(asked));
    }

    async fn finish(&mut self, commands: &'a Commands, sends_too: bool) {
        let marks = self.marks.take_all();
        if sends_too {
            marks.into_iter().for_each(|asked| self.others.add(asked));
            tokio::join!(self.sends.finish(commands), self.others.finish(commands));
        } else {
            for asked in marks {
                // Nobody is there to be told.
                commands.handle(asked).await.unwrap_or_default();
            }
        }
    }
}

async fn listen<'a, R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    socket: &Socket,
    commands: &'a Commands,
    under_way: &mut UnderWay<'a>,
) -> std::result::Result<Over, ReadError> {
    let mut offences = Offences::default();
    loop {
        while under_way.has_room()
            && let Some(text) = wire.take()
        {
            match commands.parse(&text) {
                Some(asked) => under_way.add(asked, commands),
                None => offences.note(Offence::Invalid, app.hub.now_s()),
            }
        }
        if let Some((code, reason)) = offences.abuse() {
            abuse(socket, code, reason);
            return Ok(Over::Closed);
        }
        let has_room = under_way.has_room();
        tokio::select! {
            biased;
            () = app.tasks.draining().cancelled() => return Ok(Over::Draining),
            ended = socket.queue.pump() => {
                return ended.map(|()| Over::Closed).map_err(ReadError::Io);
            }
            done = under_way.sends.run(commands) => offences.note_if(done, app.hub.now_s()),
            done = under_way.others.run(commands) => offences.note_if(done, app.hub.now_s()),
            () = under_way.marks.due() => under_way.add_due(commands),
            read = wire.read(), if has_room => {
                read?;
                socket.note_seen(app.hub.now_s());
            }
        }
    }
}

async fn welcome(app: &App, socket: &Socket, hello: Hello) -> Result<()> {
    let (user, arrival) = app.attach.arrive(socket, &hello.cursors).await?;
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

/// Tells the client to come back, each at its own time.
fn say_goodbye(socket: &Socket, sockets: usize) {
    let reconnect_after_ms = socket.id.wrapping_mul(7919) % reconnect_spread_ms(sockets);
    socket.send(&ServerFrame::Goaway {
        reason: "drain",
        reconnect_after_ms,
    });
    socket.close_with(close::RESTART, "drain", Unsent::Deliver);
}

fn reconnect_spread_ms(sockets: usize) -> u64 {
    let (least, most) = RECONNECT_SPREAD_MS.into_inner();
    (sockets as u64).clamp(least, most)
}

fn abuse(socket: &Socket, code: ErrorCode, reason: &str) {
    if let Some(code) = code.close_code() {
        socket.close_with(code, reason, Unsent::Deliver);
    }
}

/// Refuses a connection that was not greeted.
fn refuse(app: &App, queue: &SendQueue, error: &Error) {
    let trace = app.traces.entry("frame hello", None).trace();
    push_last(queue, &answers::refusal(app, None, None, error, trace.id));
    close(app, queue, close_code(error), error.code.name());
}

/// With what a connection is closed that was not welcomed because of an error.
fn close_code(error: &Error) -> CloseCode {
    error.code.close_code().unwrap_or(close::RESTART)
}

/// Closes a connection that is no [`Socket`] yet, or of which only the wire is at hand.
fn close(app: &App, queue: &SendQueue, code: CloseCode, reason: &str) {
    let why = CloseReason { code, reason };
    close_queue(queue, &app.metrics, why, Unsent::Deliver);
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
    let error = Error::new(error_code, &*detail);
    refusals::count(&app.metrics, &error);
    push_last(queue, &answers::error_frame(None, None, &error, None));
    close(app, queue, code, &detail);
}

/// Sends a frame before a close. A socket that does not even take this is ended as it stands.
fn push_last(queue: &SendQueue, frame: &Bytes) {
    if queue.push(frame) == Pushed::Full {
        queue.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::reconnect_spread_ms;

    #[test]
    fn the_more_sockets_leave_the_longer_they_take_to_come_back() {
        for (sockets, spread_ms) in [(2, 3_000), (8_000, 8_000), (100_000, 30_000)] {
            assert_eq!(reconnect_spread_ms(sockets), spread_ms);
        }
    }
}
