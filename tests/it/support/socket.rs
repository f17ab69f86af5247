//! A WebSocket client for tests: it says what the test says, keeps what the test did not ask for
//! yet, and waits for nothing longer than a deadline.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::held_up;
use super::server::{Person, TestServer};

/// Every wait of a test ends here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the server speaks.
pub(crate) const SUBPROTOCOL: (&str, &str) = ("sec-websocket-protocol", "qunliu.v1.json");

/// A stream in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Any stream to a server.
pub(crate) type Stream = Box<dyn Duplex>;

/// An open socket.
pub(crate) struct Socket {
    stream: WebSocketStream<Stream>,
    /// Frames that arrived while the test waited for others, oldest first.
    kept: VecDeque<Value>,
    /// Signals that arrived, oldest first; they may come at any time, or not.
    signals: VecDeque<Value>,
    closed: Option<u16>,
    last_id: u64,
    /// What was asked under an id of its own.
    asked: HashMap<u64, Value>,
}

impl Socket {
    /// Opens a socket with these headers; the status of the refusal otherwise.
    pub(crate) async fn open(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self::open_over(Box::new(tcp), address, headers).await
    }

    /// A socket whose kernel takes little for a client that does not read.
    pub(crate) async fn open_narrow(address: SocketAddr) -> Self {
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.set_recv_buffer_size(4096).unwrap();
        let tcp = tcp.connect(address).await.unwrap();
        let stream = Box::new(tcp);
        Self::open_over(stream, address, &[SUBPROTOCOL])
            .await
            .unwrap()
    }

    /// Opens a socket over a stream that is there already.
    pub(crate) async fn open_over(
        stream: Stream,
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{address}/v1/socket")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(*name, value);
        }
        let opened = timeout(DEADLINE, client_async(request, stream)).await;
        match opened.expect("the handshake is answered") {
            Ok((stream, _)) => Ok(Self {
                stream,
                kept: VecDeque::new(),
                signals: VecDeque::new(),
                closed: None,
                last_id: 0,
                asked: HashMap::new(),
            }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    /// Opens a socket and says `hello`; the answer is still to be read.
    pub(crate) async fn hello(
        server: &TestServer,
        person: &Person,
        device: &str,
        cursors: &Value,
    ) -> Self {
        Self::hello_at(server.address, person, device, cursors).await
    }

    /// The same at any address.
    pub(crate) async fn hello_at(
        address: SocketAddr,
        person: &Person,
        device: &str,
        cursors: &Value,
    ) -> Self {
        let open = async || Self::open(address, &[SUBPROTOCOL]).await.unwrap();
        Self::hello_over(open, &hello(person, device, cursors)).await
    }

    /// The same over sockets that are opened so: another one where the machine held the server up.
    pub(crate) async fn hello_over(open: impl AsyncFn() -> Self, hello: &Value) -> Self {
        let begun = Instant::now();
        loop {
            let mut socket = open().await;
            socket.say(hello).await;
            let answer = socket.read().await;
            match answer.as_ref().and_then(held_up) {
                Some(wait) if begun.elapsed() < DEADLINE => sleep(wait).await,
                _ => {
                    socket.kept.extend(answer);
                    return socket;
                }
            }
        }
    }

    /// Opens a socket and waits for its welcome.
    pub(crate) async fn greeted(server: &TestServer, person: &Person, device: &str) -> Self {
        let mut socket = Self::hello(server, person, device, &json!({})).await;
        socket.wait("welcome").await;
        socket
    }

    /// Sends a frame.
    pub(crate) async fn say(&mut self, frame: &Value) {
        self.say_text(&frame.to_string()).await;
    }

    /// Sends any text.
    pub(crate) async fn say_text(&mut self, text: &str) {
        self.say_message(Message::text(text)).await;
    }

    /// Sends any message; whether the server still took it shows in what it answers.
    pub(crate) async fn say_message(&mut self, message: Message) {
        let sent = timeout(DEADLINE, self.stream.send(message)).await;
        drop(sent.expect("the server takes what it is sent"));
    }

    /// Sends a frame under an id of its own, and waits for the answer under that id.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        let id = self.ask_later(frame).await;
        self.answer(id).await
    }

    /// Sends a frame under an id of its own, which is answered.
    pub(crate) async fn ask_later(&mut self, frame: &Value) -> u64 {
        self.last_id += 1;
        let mut frame = frame.clone();
        frame["id"] = json!(self.last_id);
        self.say(&frame).await;
        self.asked.insert(self.last_id, frame);
        self.last_id
    }

    /// Waits for the answer under an id; asks again where the machine held the server up.
    pub(crate) async fn answer(&mut self, id: u64) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.take(|frame| frame["id"] == id).await;
            let wait = held_up(&answer).filter(|_| begun.elapsed() < DEADLINE);
            let (Some(wait), Some(asked)) = (wait, self.asked.get(&id)) else {
                return answer;
            };
            let asked = asked.clone();
            sleep(wait).await;
            self.say(&asked).await;
        }
    }

    /// Waits for a frame of this type; those before it are kept.
    pub(crate) async fn wait(&mut self, kind: &str) -> Value {
        self.take(|frame| frame["type"] == kind).await
    }

    /// Waits for a frame that fits; others are kept.
    pub(crate) async fn take(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.kept.iter().position(&fits) {
            return self.kept.remove(index).unwrap();
        }
        loop {
            let frame = self.frame().await;
            if fits(&frame) {
                return frame;
            }
            self.kept.push_back(frame);
        }
    }

    /// All frames up to and with the next one of this type, in order.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = match self.kept.pop_front() {
                Some(frame) => frame,
                None => self.frame().await,
            };
            let is_last = frame["type"] == kind;
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }

    /// Waits until `count` events of a group were pushed.
    pub(crate) async fn events(&mut self, group: &str, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = self
                .take(|frame| frame["type"] == "events" && frame["group"] == group)
                .await;
            events.extend(frame["events"].as_array().unwrap().iter().cloned());
        }
        events
    }

    /// Waits until the event at seq `last` of a group was pushed; all events up to it.
    pub(crate) async fn events_up_to(&mut self, group: &str, last: u64) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        while events.last().is_none_or(|event| seq(&event["pos"]) < last) {
            events.extend(self.events(group, 1).await);
        }
        events
    }

    /// Reads until the close; answers its code. What came before is kept.
    pub(crate) async fn closed(&mut self) -> u16 {
        while let Some(frame) = self.read().await {
            self.kept.push_back(frame);
        }
        self.closed.unwrap()
    }

    /// Waits for the next signal.
    pub(crate) async fn signal(&mut self) -> Value {
        let waiting = async {
            while self.signals.is_empty() {
                match self.next_frame().await {
                    Some(frame) if frame["type"] == "signal" => self.signals.push_back(frame),
                    Some(frame) => self.kept.push_back(frame),
                    None => panic!("closed with {:?}", self.closed),
                }
            }
        };
        let came = timeout(DEADLINE, waiting).await;
        came.expect("a signal comes");
        self.signals.pop_front().unwrap()
    }

    /// Whether this signal comes within so long; those before it are passed over.
    pub(crate) async fn hears(&mut self, wanted: &Value, within: Duration) -> bool {
        let hearing = async { while self.signal().await != *wanted {} };
        timeout(within, hearing).await.is_ok()
    }

    /// Takes all signals that came.
    pub(crate) fn signals(&mut self) -> Vec<Value> {
        self.signals.drain(..).collect()
    }

    /// Takes all frames that were kept, oldest first.
    pub(crate) fn kept(&mut self) -> Vec<Value> {
        self.kept.drain(..).collect()
    }

    /// Waits until everything that the server had to say before this call has arrived: it answers
    /// one frame after the other.
    pub(crate) async fn settle(&mut self) {
        let nothing = json!({"type": "follow", "groups": {}, "level": "full"});
        let done = self.ask(&nothing).await;
        assert_eq!(done["type"], "done", "{done}");
    }

    /// The next frame with content, which must come.
    async fn frame(&mut self) -> Value {
        match self.read().await {
            Some(frame) => frame,
            None => panic!("closed with {:?} after {:?}", self.closed, self.kept),
        }
    }

    /// The next frame with content; `None` once the socket is closed. Beats are no content.
    async fn read(&mut self) -> Option<Value> {
        match timeout(DEADLINE, self.read_past_beats()).await {
            Ok(frame) => frame,
            Err(_) => panic!("nothing came after {:?}", self.kept),
        }
    }

    async fn read_past_beats(&mut self) -> Option<Value> {
        loop {
            let frame = self.next_frame().await?;
            if frame["type"] != "signal" {
                return Some(frame);
            }
            self.signals.push_back(frame);
        }
    }

    /// The next frame but for beats; `None` once the socket is closed.
    async fn next_frame(&mut self) -> Option<Value> {
        loop {
            match self.read_message().await? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    let is_beat = frame["type"] == "heads" && frame["heads"] == json!([]);
                    if !is_beat {
                        return Some(frame);
                    }
                }
                Message::Close(close) => {
                    let code = close.map_or(1005, |close| u16::from(close.code));
                    self.closed.get_or_insert(code);
                }
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The next message as it came; `None` once the stream ended.
    pub(crate) async fn read_message(&mut self) -> Option<Message> {
        let next = timeout(DEADLINE, self.stream.next()).await;
        match next.unwrap_or_else(|_| panic!("nothing came after {:?}", self.kept)) {
            Some(Ok(message)) => Some(message),
            Some(Err(_)) | None => {
                self.closed.get_or_insert(1006);
                None
            }
        }
    }
}

/// A `hello`.
pub(crate) fn hello(person: &Person, device: &str, cursors: &Value) -> Value {
    json!({
        "type": "hello", "token": person.access_token, "device": device, "cursors": cursors,
    })
}

/// A `send` of a text under a new key.
pub(crate) fn text(group: &str, words: &str) -> Value {
    json!({
        "type": "send", "group": group, "client_id": uuid::Uuid::new_v4(),
        "body": {"kind": "text", "text": words},
    })
}

/// The seqs of events.
pub(crate) fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| seq(&event["pos"])).collect()
}

/// The seq of a position.
pub(crate) fn seq(pos: &Value) -> u64 {
    pos[1].as_u64().unwrap()
}

/// Asserts that seqs are `first` and those after it, without a hole.
pub(crate) fn assert_dense(seqs: &[u64], first: u64) {
    let expected: Vec<u64> = (first..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
}
