//! The floor of taking messages in: receive, append with the server's own function, acknowledge, read
//! by a consumer group, insert in batches, and nothing else. No accounts, no checks, no order between
//! groups, no recovery. What a server adds to this is its own.
//!
//! `ingest serve REDIS MONGODB GROUPS` opens groups in stores that are fresh and prints its address. A
//! connection sends frames of `FRAME` bytes, the first two the number of a group, and is answered one byte
//! for each.
//!
//! `ingest drive ADDRESS SOCKETS GROUPS RATE SECONDS PID…` speaks at a rate that does not wait for answers,
//! and prints what a message cost the processes together.

#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::options::{ClientOptions, ClusteredIndex, WriteConcern};
use mongodb::{Client, Collection};
use redis::streams::StreamReadReply;
use redis::{Connection, Pipeline, Value, cmd, pipe};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use qunliu::clock::{Clock as _, SystemClock};
use qunliu::store::redis::library::TEMPLATE;

mod drive;

use drive::{Done, Load, run};

/// A message on the wire: its group, its `client_id`, and some thirty Chinese characters.
const FRAME: usize = 128;
const VERSION: &str = "floor";
const CONSUMER: &str = "persist";
/// How often what came is inserted: at 2,500 messages a second a batch has 100.
const PERIOD: Duration = Duration::from_millis(40);
const LISTENER: Token = Token(usize::MAX);

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", redis, mongodb, groups] => serve(redis, mongodb, groups.parse()?),
        ["drive", address, sockets, groups, rate, seconds, pids @ ..] => {
            let load = Load {
                sockets: sockets.parse()?,
                groups: groups.parse()?,
                rate: rate.parse()?,
                seconds: seconds.parse()?,
            };
            let pids: Vec<u32> = pids.iter().map(|p| p.parse()).collect::<Result<_, _>>()?;
            run(drive(&load, address.parse()?, &pids))
        }
        _ => Err("ingest serve … | ingest drive …".into()),
    }
}

/// A group, and the names of its keys in the order of the functions.
struct Group {
    id: Uuid,
    keys: [String; 8],
}

impl Group {
    fn new() -> Self {
        let id = Uuid::new_v4();
        let tag = format!("{{{:02x}}}", id.as_bytes()[15]);
        let own = |kind: &str| format!("{kind}{tag}:{id}");
        let keys = [
            own("s"),
            own("h"),
            own("o"),
            format!("d{tag}:{id}:0"),
            format!("d{tag}:{id}:1"),
            format!("ann{tag}"),
            format!("a{tag}"),
            own("e"),
        ];
        Self { id, keys }
    }

    fn open(&self, history: &str, redis: &mut Connection) -> Done {
        let mut prepare = cmd("FCALL");
        prepare.arg(format!("prepare_{VERSION}")).arg(7);
        prepare.arg(&self.keys[..7]).arg(history).arg(1);
        prepare.query::<Value>(redis)?;
        let mut open = cmd("FCALL");
        open.arg(format!("open_{VERSION}")).arg(8).arg(&self.keys);
        open.arg(history).arg(1).arg(1).arg(0).arg(0).arg("0-0");
        open.arg(0).arg("").arg(self.id.to_string()).arg(CONSUMER);
        open.arg("1 1 0;");
        match open.query::<String>(redis)?.as_str() {
            "yes" => Ok(()),
            answer => Err(format!("a group was not opened: {answer}").into()),
        }
    }

    /// Adds the append of one frame.
    fn append(&self, frame: &[u8], history: &str, calls: &mut Pipeline) -> Done {
        let now = SystemClock.now().as_millis();
        // Kind, sender, client_id, digest, time, message id: as long as they are in the server.
        let mut meta = vec![1];
        meta.extend_from_slice(&frame[..16]);
        meta.extend_from_slice(&frame[2..18]);
        meta.extend_from_slice(&frame[..40]);
        let body = format!(
            r#"{{"at":{now},"id":"{}","body":{{"kind":"text","text":"{}"}}}}"#,
            self.id,
            String::from_utf8_lossy(&frame[18..])
        );
        calls.cmd("FCALL").arg(format!("append_{VERSION}")).arg(7);
        calls.arg(&self.keys[..7]).arg(history).arg(1).arg("");
        calls
            .arg("append")
            .arg("")
            .arg(1)
            .arg(0)
            .arg(now.to_string());
        calls.arg(meta).arg(body).arg(self.id.to_string()).arg("");
        Ok(())
    }
}

fn serve(redis: &str, mongodb: &str, groups: usize) -> Done {
    let client = redis::Client::open(redis)?;
    let mut connection = client.get_connection()?;
    let text = TEMPLATE.replace("@VERSION@", VERSION);
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("REPLACE")
        .arg(text)
        .query::<()>(&mut connection)?;
    let info: String = cmd("INFO").arg("replication").query(&mut connection)?;
    let history = info
        .lines()
        .find_map(|line| line.strip_prefix("master_replid:"));
    let history = history
        .ok_or("a Redis without a history")?
        .trim()
        .to_owned();
    let groups: Vec<Group> = (0..groups).map(|_| Group::new()).collect();
    for group in &groups {
        group.open(&history, &mut connection)?;
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let events = runtime.block_on(collection(mongodb))?;
    let (appended, dirty) = channel();
    let streams: Vec<(Uuid, String)> = groups
        .iter()
        .map(|group| (group.id, group.keys[0].clone()))
        .collect();
    let mut persister = Persister {
        streams,
        redis: client.get_connection()?,
        events,
        runtime,
    };
    thread::spawn(move || {
        persister
            .run(&dirty)
            .unwrap_or_else(|error| println!("persist failed: {error}"));
    });
    Front {
        groups,
        history,
        redis: connection,
        appended,
        connections: Vec::new(),
    }
    .run()
}

async fn collection(uri: &str) -> Done<Collection<Document>> {
    let mut options = ClientOptions::parse(uri).await?;
    let durable = WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority);
    options.write_concern = Some(durable.journal(true).build());
    let database = Client::with_options(options)?.database("floor");
    database.drop().await?;
    let clustered = ClusteredIndex::default();
    database
        .create_collection("events")
        .clustered_index(clustered)
        .await?;
    Ok(database.collection("events"))
}

/// Takes frames in, appends what one look at the sockets brought, and acknowledges.
struct Front {
    groups: Vec<Group>,
    history: String,
    redis: Connection,
    appended: Sender<usize>,
    connections: Vec<(TcpStream, Vec<u8>)>,
}

impl Front {
    fn run(&mut self) -> Done {
        let mut poll = Poll::new()?;
        let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
        println!("{}", listener.local_addr()?);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1024);
        loop {
            poll.poll(&mut events, None)?;
            let (mut calls, mut waiting) = (pipe(), Vec::new());
            for event in &events {
                if event.token() == LISTENER {
                    while let Ok((mut stream, _)) = listener.accept() {
                        stream.set_nodelay(true)?;
                        let token = Token(self.connections.len());
                        poll.registry()
                            .register(&mut stream, token, Interest::READABLE)?;
                        self.connections.push((stream, Vec::new()));
                    }
                } else {
                    self.read(event.token().0, &mut calls, &mut waiting)?;
                }
            }
            if waiting.is_empty() {
                continue;
            }
            let answers: Vec<Vec<Value>> = calls.query(&mut self.redis)?;
            for ((connection, group), answer) in waiting.into_iter().zip(answers) {
                if answer.first() != Some(&Value::BulkString(b"appended".to_vec())) {
                    return Err(format!("an append was answered {answer:?}").into());
                }
                drop(self.connections[connection].0.write(b"+"));
                self.appended.send(group)?;
            }
        }
    }

    fn read(&mut self, at: usize, calls: &mut Pipeline, waiting: &mut Vec<(usize, usize)>) -> Done {
        let (stream, pending) = &mut self.connections[at];
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => pending.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {
                    drop(stream.shutdown(Shutdown::Both));
                    return Ok(());
                }
            }
        }
        for frame in pending.chunks_exact(FRAME) {
            let group = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
            self.groups[group].append(frame, &self.history, calls)?;
            waiting.push((at, group));
        }
        let whole = pending.len() - pending.len() % FRAME;
        pending.drain(..whole);
        Ok(())
    }
}

/// Reads what was appended by a consumer group, inserts it, and acknowledges.
struct Persister {
    streams: Vec<(Uuid, String)>,
    redis: Connection,
    events: Collection<Document>,
    runtime: Runtime,
}

impl Persister {
    fn run(&mut self, dirty: &Receiver<usize>) -> Done {
        while let Ok(first) = dirty.recv() {
            thread::sleep(PERIOD);
            let groups: BTreeSet<usize> = dirty.try_iter().chain([first]).collect();
            let mut reads = pipe();
            for group in &groups {
                reads.cmd("XREADGROUP").arg("GROUP").arg(CONSUMER).arg("me");
                reads.arg("STREAMS").arg(&self.streams[*group].1).arg(">");
            }
            let found: Vec<Option<StreamReadReply>> = reads.query(&mut self.redis)?;
            let (mut documents, mut acks) = (Vec::new(), pipe());
            for (group, reply) in groups.into_iter().zip(found) {
                let (id, key) = &self.streams[group];
                let entries = reply
                    .into_iter()
                    .flat_map(|r| r.keys)
                    .flat_map(|key| key.ids);
                let entries: Vec<_> = entries.collect();
                if entries.is_empty() {
                    continue;
                }
                acks.cmd("XACK").arg(key).arg(CONSUMER);
                for entry in entries {
                    acks.arg(&entry.id);
                    let body: String = entry.get("b").ok_or("an entry without a body")?;
                    let meta: Vec<u8> = entry.get("m").ok_or("an entry without a head")?;
                    let place = [id.as_bytes().as_slice(), &number(&entry.id)?].concat();
                    documents.push(doc! { "_id": binary(place), "m": binary(meta), "b": body });
                }
            }
            if !documents.is_empty() {
                self.runtime
                    .block_on(self.events.insert_many(documents).into_future())?;
                acks.exec(&mut self.redis)?;
            }
        }
        Ok(())
    }
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    }
}

fn number(id: &str) -> Done<[u8; 8]> {
    let (_, seq) = id.split_once('-').ok_or("a strange position")?;
    Ok(seq.parse::<u64>()?.to_be_bytes())
}

/// Says every frame, each from the next socket to a group of its own turn.
async fn drive(load: &Load, address: SocketAddr, pids: &[u32]) -> Done {
    let say = |said: usize| {
        let mut frame = vec![b'.'; FRAME];
        let group = u16::try_from(said * 7 % load.groups)?;
        frame[..2].copy_from_slice(&group.to_be_bytes());
        frame[2..18].copy_from_slice(Uuid::new_v4().as_bytes());
        Ok((said % load.sockets, frame))
    };
    let heard = load.drive(address, pids, |_| Vec::new(), say).await?;
    let (accepted, count) = (heard.bytes, load.count());
    if accepted != count {
        return Err(format!("{accepted} of {count} were accepted").into());
    }
    let each = heard.spent.as_secs_f64() * 1e6 / count as f64;
    println!("accepted {accepted} cpu_us {each:.2}");
    Ok(())
}
