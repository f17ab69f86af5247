//! What the steps of the dataflow cost on their own: encode, append, page, fan-out. Embedded stores,
//! so that nothing else need run. Compare two runs on one machine: `cargo bench`, change, `cargo bench`.

#![expect(clippy::unwrap_used, reason = "a bench may fail loudly")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use qunliu::egress::send_queue::{Pushed, SendQueue};
use qunliu::lifecycle::Tasks;
use qunliu::model::client_id::ClientId;
use qunliu::model::epoch::{EpochTable, Row};
use qunliu::model::event::{Content, Draft, Entry, Fixed};
use qunliu::model::id::{GroupId, MessageId, UserId};
use qunliu::model::message::{Body, Mentions};
use qunliu::model::position::Position;
use qunliu::model::time::Time;
use qunliu::protocol::server::events;
use qunliu::protocol::websocket::encode::text_frame;
use qunliu::store::embedded::stores::EmbeddedStores;
use qunliu::store::history::History;
use qunliu::store::log::{Append, OnMiss, Open, Opened, Outcome};
use tokio::io::sink;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const AT: Time = Time::from_millis(1_764_000_000_000);
const WORDS: &str = "在吗？今天的面还有吗，帮我留两份，晚上七点来取。";
/// Entries of the group that is read.
const ENTRIES: usize = 1_000;
const PAGE: usize = 50;
const LISTENERS: usize = 100;

/// A group with an open log, in a folder that goes with it.
struct Group {
    stores: EmbeddedStores,
    id: GroupId,
    history: String,
    folder: PathBuf,
}

impl Drop for Group {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Group {
    async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("qunliu-bench-{}", ClientId::random()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("qunliu.sqlite");
        let stores = EmbeddedStores::open(&file, &Tasks::default())
            .await
            .unwrap();
        let id = GroupId::generate(AT);
        let history = stores.log.history(id.partition()).await.unwrap();
        stores.log.prepare(id, &history, 1).await.unwrap();
        let row = Row::from((1, 1, 0));
        assert!(stores.epochs.add_row(id, None, row).await.unwrap());
        let opening = Open {
            group: id,
            history: history.clone(),
            epoch: 1,
            start: 1,
            count: 0,
            at: AT,
            stored: Position::START,
            own: Some(Vec::new()),
            expected_top: None,
            table: [row].into_iter().collect(),
        };
        assert_eq!(stores.log.open(opening).await.unwrap(), Opened::Yes);
        Self {
            stores,
            id,
            history,
            folder,
        }
    }

    fn message(&self) -> Append {
        let content = Content::Message {
            id: MessageId::generate(AT),
            body: Body::Text {
                text: WORDS.to_owned(),
            },
            reply_to: None,
            mentions: Mentions::default(),
        };
        let fixed = Fixed {
            client_id: ClientId::random(),
            sender: UserId::generate(AT),
            at: AT,
            content,
        };
        Append {
            draft: Draft {
                group: self.id,
                fixed,
            },
            history: self.history.clone(),
            epoch: 1,
            rights: None,
            on_miss: OnMiss::Append,
            replace: None,
            trace: None,
        }
    }

    async fn append(&self, message: Append) {
        let outcome = self.stores.log.append(message).await.unwrap();
        assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
    }

    async fn filled() -> Self {
        let group = Self::new().await;
        let messages = (0..ENTRIES).map(|_| group.append(group.message()));
        join_all(messages).await;
        group
    }

    async fn entries(&self, count: usize) -> Vec<Entry> {
        let log = &self.stores.log;
        log.range(self.id, Position::START, None, count)
            .await
            .unwrap()
    }
}

fn encode(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (id, entries) = runtime.block_on(async {
        let group = Group::filled().await;
        (group.id, group.entries(PAGE).await)
    });
    let mut benches = criterion.benchmark_group("encode");
    for count in [1, PAGE] {
        benches.throughput(Throughput::Elements(count as u64));
        benches.bench_function(format!("{count} events in a frame"), |bench| {
            bench.iter(|| text_frame(&events(id, black_box(&entries[..count]))));
        });
    }
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let group = runtime.block_on(Group::new());
    let mut benches = criterion.benchmark_group("append");
    for count in [1_u64, 100] {
        benches.throughput(Throughput::Elements(count));
        benches.bench_function(format!("{count} at a time"), |bench| {
            let messages = || (0..count).map(|_| group.message()).collect::<Vec<_>>();
            let appended = async |messages: Vec<Append>| {
                join_all(messages.into_iter().map(|message| group.append(message))).await;
            };
            bench
                .to_async(&runtime)
                .iter_batched(messages, appended, BatchSize::SmallInput);
        });
    }
}

fn page(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let group = runtime.block_on(Group::filled());
    let stores = &group.stores;
    let history = History::new(
        stores.log.clone(),
        stores.messages.clone(),
        stores.epochs.clone(),
    );
    let middle = Position::new(1, ENTRIES as u64 / 2);
    let mut benches = criterion.benchmark_group("page");
    benches.throughput(Throughput::Elements(PAGE as u64));
    for (name, before) in [("newest", None), ("middle", Some(middle))] {
        benches.bench_function(format!("{PAGE} events, {name}"), |bench| {
            bench.to_async(&runtime).iter(async || {
                let mut table = EpochTable::default();
                let found = history.before(group.id, &mut table, before, PAGE).await;
                assert_eq!(found.unwrap().len(), PAGE);
            });
        });
    }
}

fn fan_out(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let frame = runtime.block_on(async {
        let group = Group::filled().await;
        text_frame(&events(group.id, &group.entries(1).await))
    });
    let (queues, _tasks) = runtime.block_on(listeners());
    let mut benches = criterion.benchmark_group("fan-out");
    benches.throughput(Throughput::Elements(LISTENERS as u64));
    benches.bench_function(format!("a frame to {LISTENERS} sockets"), |bench| {
        bench.iter(|| {
            for queue in &queues {
                assert_ne!(queue.push(black_box(&frame)), Pushed::Full);
            }
        });
    });
}

/// Sockets that read whatever comes.
async fn listeners() -> (Vec<Arc<SendQueue>>, JoinSet<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut queues, mut tasks) = (Vec::with_capacity(LISTENERS), JoinSet::new());
    for _ in 0..LISTENERS {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (_, output) = listener.accept().await.unwrap().0.into_split();
        let queue = Arc::new(SendQueue::new(output, 1 << 30));
        let pumped = Arc::clone(&queue);
        tasks.spawn(async move { drop(tokio::io::copy(&mut client, &mut sink()).await) });
        tasks.spawn(async move { drop(pumped.pump().await) });
        queues.push(queue);
    }
    (queues, tasks)
}

criterion_group!(steps, encode, append, page, fan_out);
criterion_main!(steps);
