//! Drives one client: a WebSocket, a clock, and the schedule of what it says and reads. All
//! rules are in [`client`](super::client); here is only what touches the network.
//!
//! Inputs of the loop: the stop of the run, frames of the socket, a renewed token, the start of
//! sending, and the next moment at which anything is due.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::client::{Action, Client};
use super::dial::Stream;
use super::meter::Meter;
use super::random::Random;
use super::record::{Record, Recorder, Scene};
use super::rest::{Node, RestError, Tokens};

/// The read and write buffers of one socket: hundreds of sockets must not cost much.
const BUFFER_BYTES: usize = 4096;
/// How long opening a socket or writing a frame may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The subprotocol (protocol.md).
const SUBPROTOCOL: &str = "qunliu.v1.json";
/// The share of a token's life after which it is renewed.
const RENEW_AT_SHARE: f64 = 0.8;
/// A client reads a group now and then: after a pause between these.
const READ_PAUSE_MS: (u64, u64) = (2_000, 4_000);

/// An open socket.
pub type Socket = WebSocketStream<Stream>;

/// What all clients of a run share.
#[derive(Debug)]
pub struct Run {
    /// The plan and who is who.
    pub scene: Scene,
    /// Totals and latencies.
    pub meter: Meter,
    /// The nodes of the server.
    pub nodes: Vec<Node>,
    /// Whether clients say how far they read.
    pub is_reading: bool,
    /// Moments count from here.
    pub origin: Instant,
    /// When sending began, since `origin`; `None` before.
    pub start: watch::Receiver<Option<Duration>>,
    /// Ends all clients.
    pub stop: CancellationToken,
}

/// Opens a socket to the node.
///
/// # Errors
/// It is not there, does not speak the protocol, or takes too long.
pub async fn connect(node: &Node) -> Result<Socket, tungstenite::Error> {
    let late = |_| tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into());
    tokio::time::timeout(TIMEOUT, open(node))
        .await
        .map_err(late)?
}

async fn open(node: &Node) -> Result<Socket, tungstenite::Error> {
    let address = node.address().unwrap_or_default();
    let mut request = format!("ws://{address}/v1/socket").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(
        "sec-websocket-protocol",
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let stream = node.dial().await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES);
    let (socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

/// What is left of a client when the run stops.
#[derive(Debug, Default)]
pub struct End {
    /// What it saw.
    pub record: Record,
    /// Its newest access token.
    pub access_token: String,
}

/// One client on its way through the run.
pub struct Driver {
    run: Arc<Run>,
    client: Client,
    recorder: Recorder,
    socket: Option<Socket>,
    node: usize,
    refresh_token: String,
    renewal: Option<BoxFuture<'static, Result<Tokens, RestError>>>,
    schedule: Schedule,
    /// What the shared meter counts of this client now.
    counted_live: bool,
    counted_busy: bool,
}

/// What a client still has to say, and when it reads next.
struct Schedule {
    unsaid: std::vec::IntoIter<usize>,
    next: Option<usize>,
    read_at: Option<Duration>,
    random: Random,
}

impl Driver {
    /// The client of the user with this index.
    pub fn new(run: Arc<Run>, user: usize, tokens: Tokens, seed: u64) -> Self {
        let renew_at = run.origin.elapsed() + renewal_pause(&tokens);
        let random = Random::part(seed, user);
        let device = format!("load-{user}");
        let client = Client::new(device, tokens.access_token, renew_at, random.clone());
        let mut unsaid = run.scene.plan.said_by(user).into_iter();
        let next = unsaid.next();
        Self {
            node: user % run.nodes.len().max(1),
            client,
            recorder: Recorder::default(),
            socket: None,
            refresh_token: tokens.refresh_token,
            renewal: None,
            schedule: Schedule {
                unsaid,
                next,
                read_at: None,
                random,
            },
            counted_live: false,
            counted_busy: false,
            run,
        }
    }

    /// Lives until the run stops, then tells what it saw.
    pub async fn drive(mut self) -> End {
        let stop = self.run.stop.clone();
        let mut start = self.run.start.clone();
        loop {
            self.step();
            self.perform().await;
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                renewed = pending_or(self.renewal.as_mut()) => self.on_renewed(renewed),
                frame = next_frame(self.socket.as_mut()) => self.on_frame(frame),
                changed = start.changed(), if start.borrow().is_none() => if changed.is_err() { break },
                () = sleep_until(wake) => {}
            }
        }
        let cursors: Vec<_> = self.client.cursors().collect();
        let record = self.recorder.finish(&self.run.scene, cursors.into_iter());
        let access_token = self.client.token().to_owned();
        End {
            record,
            access_token,
        }
    }

    fn now(&self) -> Duration {
        self.run.origin.elapsed()
    }

    /// Does what is due, and tells the meter how the client stands.
    fn step(&mut self) {
        let now = self.now();
        if let Some(start) = *self.run.start.borrow() {
            say_due(
                &self.run,
                &mut self.schedule,
                &mut self.client,
                &mut self.recorder,
                now,
                start,
            );
        }
        self.read_due(now);
        self.client.tick(now);
    }

    /// Whether all has been said, by everyone: nobody reads any more.
    fn is_over(&self, now: Duration) -> bool {
        let start = *self.run.start.borrow();
        start.is_some_and(|start| start + self.run.scene.plan.end() < now)
    }

    fn count(&mut self) {
        let meter = &self.run.meter;
        let live = self.client.is_live();
        let busy = !self.client.is_settled();
        change(&meter.live, &mut self.counted_live, live);
        change(&meter.busy, &mut self.counted_busy, busy);
    }

    /// Reads a group now and then: mostly all of it, sometimes up to a random place.
    fn read_due(&mut self, now: Duration) {
        let Some(at) = self.schedule.read_at else {
            let begins = self.run.is_reading && self.run.start.borrow().is_some();
            self.schedule.read_at = begins.then(|| now + self.schedule.read_pause());
            return;
        };
        if at > now || self.is_over(now) {
            return;
        }
        self.schedule.read_at = Some(now + self.schedule.read_pause());
        let groups = self.recorder.heard_groups();
        let random = &mut self.schedule.random;
        let Some(group) = random.pick(&groups).copied() else {
            return;
        };
        let held = self.recorder.held(group);
        let whole = random.below(4) > 0;
        let seen = if whole {
            held.last()
        } else {
            random.pick(held)
        };
        if let (Some(seen), Some(id)) = (seen, self.run.scene.groups.get(group)) {
            self.client.read(*id, seen.pos, now);
        }
    }

    /// Carries out what the client wants, until it wants nothing more.
    async fn perform(&mut self) {
        loop {
            let actions = self.client.take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                self.act(action).await;
            }
        }
        self.count();
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Connect { elsewhere } => self.reconnect(elsewhere).await,
            Action::Send(text) => self.write(text).await,
            Action::Close => self.socket = None,
            Action::Renew => self.renew(),
            Action::Note(note) => {
                let start = self.run.start.borrow().unwrap_or_default();
                let now = self.now().saturating_sub(start);
                self.recorder
                    .note(note, &self.run.scene, &self.run.meter, now);
            }
        }
    }

    async fn reconnect(&mut self, elsewhere: bool) {
        if elsewhere {
            self.node = (self.node + 1) % self.run.nodes.len().max(1);
        }
        let opened = match self.run.nodes.get(self.node) {
            Some(node) => Box::pin(connect(node)).await.ok(),
            None => None,
        };
        self.socket = opened;
        match &self.socket {
            Some(_) => self.client.opened(self.now()),
            None => self.client.closed(None, self.now()),
        }
    }

    async fn write(&mut self, text: String) {
        let Some(socket) = self.socket.as_mut() else {
            return;
        };
        let written = tokio::time::timeout(TIMEOUT, socket.send(Message::text(text))).await;
        if !matches!(written, Ok(Ok(()))) {
            self.socket = None;
            self.client.closed(None, self.now());
        }
    }

    fn on_frame(&mut self, frame: Option<Result<Message, tungstenite::Error>>) {
        let now = self.now();
        let code = match frame {
            Some(Ok(Message::Text(text))) => return self.client.heard(&text, now),
            Some(Ok(Message::Close(close))) => close.map(|close| close.code.into()),
            Some(Ok(_)) => return,
            Some(Err(_)) | None => None,
        };
        self.socket = None;
        self.client.closed(code, now);
    }

    fn renew(&mut self) {
        let Some(node) = self.run.nodes.get(self.node).cloned() else {
            return;
        };
        let token = self.refresh_token.clone();
        self.renewal = Some(async move { node.refresh(&token).await }.boxed());
    }

    fn on_renewed(&mut self, renewed: Result<Tokens, RestError>) {
        self.renewal = None;
        let now = self.now();
        match renewed {
            Ok(tokens) => {
                let next = now + renewal_pause(&tokens);
                self.refresh_token = tokens.refresh_token;
                self.client.renewed(tokens.access_token, next, now);
            }
            Err(error) => {
                self.node = (self.node + 1) % self.run.nodes.len().max(1);
                self.client.not_renewed(error.is_unauthenticated(), now);
            }
        }
    }

    /// The next moment at which anything is due.
    fn next_wake(&self) -> Option<Instant> {
        let start = *self.run.start.borrow();
        let next = self
            .schedule
            .next
            .and_then(|k| Some(start? + self.run.scene.plan.due(k)));
        let read = self.schedule.read_at.filter(|_| !self.is_over(self.now()));
        let due = [next, read, self.client.deadline()]
            .into_iter()
            .flatten()
            .min();
        due.map(|due| self.run.origin + due)
    }
}

impl Schedule {
    fn read_pause(&mut self) -> Duration {
        let (least, most) = READ_PAUSE_MS;
        let spread = usize::try_from(most - least).unwrap_or(0);
        Duration::from_millis(least + self.random.below(spread) as u64)
    }
}

/// Says every message that is due, and notes how late that is.
fn say_due(
    run: &Run,
    schedule: &mut Schedule,
    client: &mut Client,
    recorder: &mut Recorder,
    now: Duration,
    start: Duration,
) {
    let plan = &run.scene.plan;
    while let Some(k) = schedule.next.filter(|k| start + plan.due(*k) <= now) {
        schedule.next = schedule.unsaid.next();
        let Some(group) = plan
            .sayings()
            .get(k)
            .and_then(|s| run.scene.groups.get(s.group))
        else {
            continue;
        };
        recorder.said(k);
        run.meter.sent.add_one();
        run.meter
            .lag
            .record(now.saturating_sub(start + plan.due(k)));
        client.say(k, *group, plan.client_id(k), plan.texts().text(k), now);
    }
}

fn change(count: &super::meter::Count, counted: &mut bool, now: bool) {
    match (*counted, now) {
        (false, true) => count.add_one(),
        (true, false) => count.take(1),
        (false, false) | (true, true) => {}
    }
    *counted = now;
}

fn renewal_pause(tokens: &Tokens) -> Duration {
    Duration::from_secs(tokens.expires_in).mul_f64(RENEW_AT_SHARE)
}

/// The next frame, or never without a socket.
pub async fn next_frame(
    socket: Option<&mut Socket>,
) -> Option<Result<Message, tungstenite::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

async fn pending_or<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
