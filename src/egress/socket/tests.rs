use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use super::{Push, Socket};
use crate::access::Caller;
use crate::egress::send_queue::{SendQueue, Unsent};
use crate::model::id::{GroupId, SessionId, UserId};
use crate::model::position::Position;
use crate::protocol::websocket::close::CloseCode;
use crate::telemetry::Metrics;

/// Room for one frame of [`frame`], and not for two.
const QUEUE_BYTES: usize = 100;

struct Connection {
    socket: Socket,
    client: TcpStream,
    _input: OwnedReadHalf,
}

async fn connect() -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    server.writable().await.unwrap();
    let (input, output) = server.into_split();
    let caller = Caller {
        user: UserId::from_bytes([1; 16]),
        session: SessionId::from_bytes([2; 16]),
    };
    let queue = Arc::new(SendQueue::new(output, QUEUE_BYTES));
    let metrics = Metrics::new().unwrap();
    let socket = Socket::arriving(1, caller, "tab".to_owned(), queue, i64::MAX, metrics);
    Connection {
        socket,
        client,
        _input: input,
    }
}

impl Connection {
    /// Everything that was said, read to the end.
    async fn heard(mut self) -> String {
        let code = CloseCode::new(1000);
        self.socket.close_with(code, "", Unsent::Deliver);
        let mut heard = Vec::new();
        let (pumped, read) = tokio::join!(
            self.socket.queue.pump(),
            self.client.read_to_end(&mut heard)
        );
        pumped.unwrap();
        read.unwrap();
        String::from_utf8_lossy(&heard).into_owned()
    }
}

fn group() -> GroupId {
    GroupId::from_bytes([7; 16])
}

fn frame(name: &'static str) -> Bytes {
    let mut frame = name.as_bytes().to_vec();
    frame.resize(60, b'.');
    Bytes::from(frame)
}

fn push(seq: u64, name: &'static str, may_wait: bool) -> Push {
    Push {
        group: group(),
        from: Position::new(1, seq - 1),
        last: Position::new(1, seq),
        frame: frame(name),
        may_wait,
    }
}

#[tokio::test]
async fn an_epoch_held_while_arriving_is_told_and_owes_no_events() {
    let connection = connect().await;
    connection.socket.tell_epochs(group(), &[(2, 5)]);
    let heads = HashMap::from([(group(), Position::new(1, 5))]);
    connection.socket.release(&heads);
    assert!(!connection.socket.is_lagging());
    let heard = connection.heard().await;
    assert!(heard.contains(r#""type":"epoch""#), "{heard}");
    assert!(!heard.contains("resync"), "{heard}");
}

#[tokio::test]
async fn a_resync_behind_an_untold_epoch_begins_at_the_first_dropped_event() {
    let connection = connect().await;
    connection.socket.release(&HashMap::new());
    // One frame waits, so that neither the epoch nor the events behind it have room.
    connection.socket.push(&push(4, "first", true));
    connection.socket.tell_epochs(group(), &[(2, 4)]);
    assert!(connection.socket.is_lagging());
    connection.socket.push(&push(5, "dropped", true));
    connection.socket.push(&push(6, "dropped", true));
    connection.socket.queue.release();
    connection.socket.catch_up();
    let heard = connection.heard().await;
    let (before, told) = heard.split_once(r#""type":"epoch""#).unwrap();
    assert!(before.contains("first"), "{heard}");
    assert!(told.contains(r#""from":[1,4],"head":[1,6]"#), "{heard}");
    assert!(!heard.contains("dropped"), "{heard}");
}

#[tokio::test]
async fn frames_that_may_wait_are_written_when_there_is_no_more_room() {
    let connection = connect().await;
    connection.socket.release(&HashMap::new());
    for (seq, name) in (1..).zip(["first", "second", "third"]) {
        connection.socket.push(&push(seq, name, true));
    }
    assert!(!connection.socket.is_lagging());
    connection.socket.queue.release();
    let heard = connection.heard().await;
    let order = ["first", "second", "third"].map(|name| heard.find(name).unwrap());
    assert!(order.is_sorted(), "{heard}");
}
