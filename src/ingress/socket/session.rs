//! One connected client, from `hello` to the close.
//!
//! Inputs of the loop: draining, the queue's end, the two lanes of commands, read marks whose time
//! has come, bytes of the client.
//! Sends run one at a time, so that those of one connection keep their order.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::commands::{Asked, Commands, Offence};
use super::greeting::{Guest, greet};
use super::lane::Lane;
use super::marks::Marks;
use super::offences::Offences;
use super::reader::ReadError;
use super::wire::{Input, Wire};
use super::{answers, closing};
use crate::egress::send_queue::Unsent;
use crate::egress::socket::Socket;
use crate::ingress::app::App;
use crate::protocol::client::ClientFrame;
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::server::ServerFrame;

/// How long a closing connection may take to read what it is owed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a command under way may take when the server drains.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// Clients are told to come back within a time after a drain, spread evenly: a millisecond for each
/// socket of this node, within these bounds.
const RECONNECT_SPREAD_MS: RangeInclusive<u64> = 3_000..=30_000;

/// How a conversation ended: in good order, or by what came over the wire.
type Ended = Result<(), ReadError>;

/// Serves one connection until it ends; `leftover` was read from it already.
pub(super) async fn serve<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    leftover: Vec<u8>,
    guest: &mut Guest,
) {
    app.metrics.sockets_open.inc();
    if let Err(error) = converse(app, wire, leftover, guest).await {
        answers::fail(app, &wire.queue, &error);
    }
    closing::finish(&mut wire.input, &wire.queue, CLOSE_GRACE).await;
    app.metrics.sockets_open.dec();
}

async fn converse<R: Input>(
    app: &App,
    wire: &mut Wire<R>,
    leftover: Vec<u8>,
    guest: &mut Guest,
) -> Ended {
    // Boxed: a client that was greeted would carry the room for it.
    let Some(greeted) = Box::pin(greet(app, wire, leftover, guest)).await? else {
        return Ok(());
    };
    let ended = talk(app, wire, &greeted.commands).await;
    drop(greeted.attached);
    app.receipts.forget(greeted.commands.socket.id);
    ended
}

/// The loop, then what was begun.
async fn talk<R: Input>(app: &App, wire: &mut Wire<R>, commands: &Commands) -> Ended {
    let mut under_way = UnderWay::default();
    let ended = listen(app, wire, commands, &mut under_way).await;
    let is_drain = matches!(ended, Ok(Over::Draining));
    // What the client sent is finished at a drain, and it is told; else its read marks are.
    // Boxed: it holds whole commands, and an idle socket would carry the room for them.
    let finishing = Box::pin(under_way.finish(commands, is_drain));
    drop(timeout(DRAIN_GRACE, finishing).await);
    if is_drain {
        say_goodbye(&commands.socket, app.hub.socket_count());
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
    commands: &'a Commands,
    under_way: &mut UnderWay<'a>,
) -> Result<Over, ReadError> {
    let socket = &commands.socket;
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
