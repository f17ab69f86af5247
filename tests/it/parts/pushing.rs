//! The push path of a node, put together by hand, and sockets on it: for the stories of
//! [`super::telling`], [`super::tailing`] and [`super::receipts`].

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use qunliu::access::Caller;
use qunliu::access::sessions::Sessions;
use qunliu::clock::ManualClock;
use qunliu::egress::Options;
use qunliu::egress::admission::Admission;
use qunliu::egress::attach::{Arrival, Attach, Attached};
use qunliu::egress::hub::Hub;
use qunliu::egress::nudges::Nudges;
use qunliu::egress::overview::Overview;
use qunliu::egress::own_groups::OwnGroups;
use qunliu::egress::recovery::Recovery;
use qunliu::egress::revocations::Revocations;
use qunliu::egress::send_queue::SendQueue;
use qunliu::egress::socket::Socket;
use qunliu::egress::tail::Pusher;
use qunliu::model::id::{GroupId, MerchantId, SessionId, UserId};
use qunliu::model::position::Position;
use qunliu::model::role::Role as GroupRole;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::model::user::User;
use qunliu::pipeline::outbox::Outbox;
use qunliu::store::accounts::{Accounts, NewUser, Registered};
use qunliu::store::counts::Counts;
use qunliu::store::directory::{Changed, Directory, NewGroup};
use qunliu::store::embedded::cards::NoCards;
use qunliu::store::embedded::directory::SqliteDirectory;
use qunliu::store::signals::Signal;
use qunliu::store::unread::Learnt;
use serde_json::{Value, json};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Node;
use crate::support::logs::{AT, DEADLINE, text, user};
use crate::support::sample::at;

const OPTIONS: Options = Options {
    heartbeat_s: 1,
    queue_bytes_max: 1 << 20,
    slow_reader_s: 15,
    resume_events_max: 300,
    resume_bytes_max: 1 << 20,
    signals_members_max: 2,
    signals_per_second_max: 3,
    offline_after_s: 1,
    cold_arrivals_max: 64,
    cold_arrivals_per_second: 300,
    sockets_per_user: 5,
};

/// The push path of a node whose tail does not run yet, and a group: its owner joined at `[1,1]`,
/// the member whose sockets these are at `[1,2]`.
pub(super) struct Pushing {
    pub(super) node: Node,
    pub(super) hub: Arc<Hub>,
    pub(super) attach: Attach,
    pub(super) directory: Arc<dyn Directory>,
    accounts: Arc<dyn Accounts>,
    pub(super) owner: UserId,
    pub(super) member: UserId,
    pub(super) group: GroupId,
}

/// A socket as the push path has it, and the client at the other end.
pub(super) struct Tab {
    pub(super) socket: Arc<Socket>,
    pub(super) client: WebSocketStream<TcpStream>,
    _attached: Attached,
    _input: OwnedReadHalf,
}

impl Pushing {
    pub(super) async fn new() -> Self {
        Self::on(Node::new().await).await
    }

    pub(super) async fn on(node: Node) -> Self {
        let stores = node.stores.clone();
        let tables = Arc::new(SqliteDirectory::new(stores.database));
        let (directory, accounts): (Arc<dyn Directory>, Arc<dyn Accounts>) =
            (tables.clone(), tables);
        let history = node.history.clone();
        let counts = Counts::new(
            node.log.clone(),
            stores.messages.clone(),
            stores.unread,
            history.clone(),
        );
        let metrics = node.metrics.clone();
        let admission = Admission::new(&OPTIONS, metrics.clone());
        let hub = Arc::new(Hub::new(
            OPTIONS,
            counts.clone(),
            history.clone(),
            metrics,
            Sessions::default(),
        ));
        let revocations = Revocations {
            accounts: accounts.clone(),
            sessions: hub.sessions().clone(),
            hub: hub.clone(),
        };
        let stop = node.tasks.draining().clone();
        node.tasks.spawn(revocations.run(stop));
        let attach = Attach::new(
            hub.clone(),
            Recovery::new(hub.clone(), history.clone()),
            directory.clone(),
            OwnGroups::new(
                hub.clone(),
                directory.clone(),
                Arc::new(NoCards),
                counts.clone(),
                admission,
            ),
            Overview::new(directory.clone(), stores.messages, counts, history),
        );
        let (owner, member, group) = found(&node, &directory, &*accounts).await;
        let pushing = Self {
            node,
            hub,
            attach,
            directory,
            accounts,
            owner,
            member,
            group,
        };
        pushing.hear_signals();
        pushing
    }

    fn hear_signals(&self) {
        let nudges = Nudges {
            hub: self.hub.clone(),
            attach: self.attach.clone(),
            directory: self.directory.clone(),
        };
        let signals = self.node.stores.signals.listen();
        let tasks = &self.node.tasks;
        tasks.spawn(nudges.run(signals, tasks.draining().clone()));
    }

    pub(super) fn run_the_tail(&self) {
        let (node, hub) = (&self.node, self.hub.clone());
        let clock = Arc::new(ManualClock::at(AT));
        let pusher = Pusher::new(hub, node.history.clone(), clock);
        let (log, stop) = (node.log.clone(), node.tasks.draining().clone());
        node.tasks.spawn(async move { pusher.run(log, stop).await });
    }

    /// A socket that waits for its welcome.
    pub(super) async fn arriving(&self, device: &str) -> (Tab, Arrival) {
        let tab = self.entered(self.member, device).await;
        let arrival = self.attach.arrive(&tab.socket, &HashMap::new()).await;
        (tab, arrival.unwrap().1)
    }

    /// A socket of which nothing is known yet but whose it is.
    pub(super) async fn entered(&self, user: UserId, device: &str) -> Tab {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (input, output) = listener.accept().await.unwrap().0.into_split();
        let caller = Caller {
            user,
            session: SessionId::generate(AT),
        };
        let socket = Arc::new(Socket::arriving(
            self.hub.next_socket_id(),
            caller,
            device.to_owned(),
            Arc::new(SendQueue::new(output, OPTIONS.queue_bytes_max)),
            AT.as_millis() + 900_000,
            self.node.metrics.clone(),
        ));
        Tab {
            client: WebSocketStream::from_raw_socket(client, Role::Client, None).await,
            _attached: self.attach.enter(&socket),
            socket,
            _input: input,
        }
    }

    /// A socket that has its welcome.
    pub(super) async fn welcomed(&self, device: &str) -> Tab {
        let (tab, arrival) = self.arriving(device).await;
        self.attach.deliver(&tab.socket, arrival);
        tab
    }

    /// The member comes back with a cursor, is told what it missed, and goes; the positions.
    pub(super) async fn comes_back(&self, held: Position) -> Vec<Value> {
        let mut tab = self.entered(self.member, "web-1").await;
        let cursors = HashMap::from([(self.group, held)]);
        let (_, arrival) = self.attach.arrive(&tab.socket, &cursors).await.unwrap();
        let head = arrival.groups[0].state.unwrap().head;
        self.attach.deliver(&tab.socket, arrival);
        let mut told: Vec<Value> = Vec::new();
        while told.last() != Some(&json!(head)) {
            told.extend(positions(&tab.frame().await));
        }
        told
    }

    /// Another device of the member read up to `pos`: its other sockets are told the heads.
    pub(super) async fn read_elsewhere(&self, pos: Position) {
        let read = Signal::Read {
            user: self.member,
            group: self.group,
            pos,
        };
        self.node.stores.signals.publish(&[read]).await.unwrap();
    }

    /// The owner adds someone.
    pub(super) async fn add(&self, user: UserId) {
        let (directory, users) = (&self.directory, [user]);
        let role = GroupRole::Member;
        let added = directory.add_members(self.group, self.owner, &users, role, u64::MAX, AT);
        carry(&self.node, directory, added.await.unwrap()).await;
    }

    /// A new account.
    pub(super) async fn register(&self, name: &str) -> UserId {
        register(&*self.accounts, name).await.0
    }

    /// The owner removes the member.
    pub(super) async fn remove_the_member(&self) {
        let (directory, role) = (&self.directory, GroupRole::Member);
        let removed = directory.remove_member(self.group, self.owner, self.member, role, AT);
        carry(&self.node, directory, removed.await.unwrap()).await;
    }

    /// The owner gives the member a role.
    pub(super) async fn set_role(&self, seen: GroupRole, role: GroupRole) {
        let (directory, owner) = (&self.directory, self.owner);
        let set = directory.set_role(self.group, owner, self.member, seen, role, AT);
        carry(&self.node, directory, set.await.unwrap()).await;
    }

    /// Somebody else's message.
    pub(super) async fn say(&self) {
        self.node.append(self.group, text(user(), "在吗")).await;
    }
}

impl Tab {
    /// The next message; `None` once the connection ended.
    pub(super) async fn message(&mut self) -> Option<Message> {
        let next = timeout(DEADLINE, self.client.next()).await;
        next.expect("something comes").and_then(Result::ok)
    }

    /// The next frame, which must be a text.
    pub(super) async fn frame(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("not a frame: {other:?}"),
        }
    }

    /// Asserts that all that was sent has been read.
    pub(super) async fn has_nothing(&mut self) {
        self.socket.send_text(br#"{"type":"done"}"#);
        assert_eq!(self.frame().await, json!({"type": "done"}));
    }
}

/// The positions of the events in a frame.
pub(super) fn positions(frame: &Value) -> Vec<Value> {
    let events = frame["events"].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["pos"].clone()).collect()
}

/// An owner, a member, and their group, whose `joined` events stand in the log and were handled.
async fn found(
    node: &Node,
    directory: &Arc<dyn Directory>,
    accounts: &dyn Accounts,
) -> (UserId, UserId, GroupId) {
    let (owner, merchant) = match register(accounts, "li.lei").await {
        (owner, Registered::First(merchant)) => (owner, merchant.id),
        (_, other) => panic!("not the first account: {other:?}"),
    };
    let (member, _) = register(accounts, "han.meimei").await;
    let group = NewGroup {
        id: GroupId::generate(AT),
        merchant,
        name: "1 群".to_owned(),
        at: AT,
        creator: owner,
        members: vec![member],
    };
    let id = group.id;
    let created = directory.create_group(group).await.unwrap();
    carry(node, directory, created).await;
    let begin = ReadMark {
        pos: at(1, 2),
        totals: Totals::default(),
    };
    let learnt = Learnt {
        joined: vec![(id, member, begin)],
        ..Learnt::default()
    };
    node.stores.unread.record(&learnt).await.unwrap();
    (owner, member, id)
}

async fn register(accounts: &dyn Accounts, name: &str) -> (UserId, Registered) {
    let user = User {
        id: UserId::generate(AT),
        name: name.to_owned(),
        display_name: name.to_owned(),
    };
    let new = NewUser {
        user: user.clone(),
        password_hash: "$argon2id$".to_owned(),
        at: AT,
        first_merchant: (MerchantId::generate(AT), "老街面馆".to_owned()),
        refuse_first: false,
    };
    (user.id, accounts.register(new).await.unwrap())
}

/// Carries a decided change to the log.
async fn carry(node: &Node, directory: &Arc<dyn Directory>, decided: Changed) {
    let Changed::Rows(rows) = decided else {
        panic!("not decided: {decided:?}");
    };
    let clock = Arc::new(ManualClock::at(AT));
    let signals = node.stores.signals.clone();
    let outbox = Outbox {
        directory: directory.clone(),
        appender: node.appender.clone(),
        fences: node.fences.clone(),
        cards: Arc::new(NoCards),
        signals,
        clock,
        metrics: node.metrics.clone(),
        traces: node.traces.clone(),
    };
    outbox.append(&rows, None).await.unwrap();
}
