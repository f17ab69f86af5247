//! What leaves a stream, and what never does: only what is stored and handled by everyone.

use std::time::Duration;

use qunliu::lifecycle::Tasks;
use qunliu::model::position::Position;
use qunliu::store::consumers::Consumer;
use qunliu::store::log::{OnMiss, Outcome};
use qunliu::store::redis::options::Options;
use qunliu::telemetry::Metrics;
use redis::cmd;
use tokio_util::sync::CancellationToken;

use crate::contract::consumers::{ack, take};
use crate::support::logs::{
    DEADLINE, Group, appended, joined, new_group, repeated, set_stored, text, user,
};
use crate::support::redis::{Process, RedisServer, key, options};

pub(super) async fn length(server: &RedisServer, group: &Group) -> usize {
    let mut raw = server.raw().await;
    let mut length = cmd("XLEN");
    length.arg(key('s', group.id));
    length.query_async(&mut raw).await.unwrap()
}

pub(super) async fn say_many(group: &Group, count: usize, words: &str) -> Position {
    let sender = user();
    let mut last = Position::START;
    for _ in 0..count {
        last = group.say(sender, words).await.pos;
    }
    last
}

/// Lets a consumer handle all of `count` events.
pub(super) async fn handle(process: &Process, group: &Group, consumer: Consumer, count: usize) {
    let consumers = &process.stores.consumers;
    let taken = take(consumers, consumer, group.id, count).await;
    ack(consumers, consumer, &taken).await;
}

pub(super) async fn store(group: &Group, upto: Position) {
    set_stored(&*group.log, group.id, upto).await;
}

/// A process that takes a group for idle at once.
pub(super) async fn hasty(server: &RedisServer) -> Process {
    let options = Options {
        idle_ms: 1,
        ..options()
    };
    Process::start(server, options).await
}

async fn emptied(server: &RedisServer, group: &Group) {
    let mut poll = tokio::time::interval(Duration::from_millis(100));
    let waiting = async {
        while length(server, group).await > 0 {
            poll.tick().await;
        }
    };
    let waiting = tokio::time::timeout(DEADLINE, waiting);
    waiting.await.expect("the stream is emptied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_stream_keeps_its_live_window_and_little_more() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let last = say_many(&group, 700, "在吗").await;
    store(&group, last).await;
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 700).await;
    }
    let left = group.entries().await;
    assert!((300..=556).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().pos, last);
    assert_eq!(group.say(user(), "next").await.pos.seq, 701);
}

/// Each reads to the end, so that whoever acknowledges is ahead of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_never_handled_by_both_at_once_is_trimmed_too() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut behind = 0;
    for round in 0..20 {
        let last = say_many(&group, 50, "在吗").await;
        store(&group, last).await;
        let consumer = Consumer::ALL[round % 2];
        handle(&process, &group, consumer, 50 + behind).await;
        behind = 50;
    }
    let left = length(&server, &group).await;
    assert!((300..=656).contains(&left), "{left} of 1000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_fill_the_live_window_sooner() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let last = say_many(&group, 60, &"字".repeat(10_000)).await;
    store(&group, last).await;
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 60).await;
    }
    let left = length(&server, &group).await;
    assert!((1..=20).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_before_it_is_stored_and_handled_by_everyone() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = hasty(&server).await;
    let group = new_group(&process.stores.log).await;
    let last = say_many(&group, 700, "在吗").await;
    store(&group, last).await;
    handle(&process, &group, Consumer::Persist, 700).await;
    assert_eq!(
        length(&server, &group).await,
        700,
        "not handled by `unread`"
    );

    let other = new_group(&process.stores.log).await;
    say_many(&other, 700, "在吗").await;
    store(&other, other.pos(400)).await;
    for consumer in Consumer::ALL {
        handle(&process, &other, *consumer, 700).await;
    }
    assert_eq!(
        length(&server, &other).await,
        600,
        "what is not stored, and the newest 300 of what is"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_is_emptied_and_goes_on_where_it_was() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = hasty(&server).await;
    let group = new_group(&process.stores.log).await;
    let (sender, sent) = (user(), text(user(), "在吗"));
    let first = appended(group.append(&sent).await).pos;
    group.say(sender, "在").await;
    let last = group.say(sender, "在").await;
    store(&group, last.pos).await;
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 3).await;
    }
    emptied(&server, &group).await;
    let head = group.head().await;
    assert_eq!((head.pos, head.stored, head.count), (last.pos, last.pos, 3));
    // What was forgotten is looked up in the store, what comes now is not.
    let mut again = group.request(&sent);
    again.on_miss = OnMiss::AppendIfRemembered(first);
    assert_eq!(group.log.append(again).await.unwrap(), Outcome::AskStore);
    let mut late = group.request(&text(sender, "late"));
    late.on_miss = OnMiss::AppendIfRemembered(last.pos);
    assert_eq!(appended(group.log.append(late).await.unwrap()).pos.seq, 4);
    let next = appended(group.append(&text(sender, "next")).await);
    assert_eq!((next.pos.seq, next.count), (5, 5));
    let own = group.head_of(Some(sender)).await.1;
    assert_eq!(own, Some(4), "own totals are kept");
}

/// What `MEMORY USAGE` may say of all keys of an idle group in which three people spoke, in bytes.
const IDLE_GROUP_MAX: u64 = 2_560;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_idle_group_five_small_keys_stay() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = hasty(&server).await;
    let group = new_group(&process.stores.log).await;
    let mut last = Position::START;
    for _ in 0..3 {
        last = say_many(&group, 50, "在吗").await;
    }
    store(&group, last).await;
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 150).await;
    }
    emptied(&server, &group).await;
    let mut raw = server.raw().await;
    let mut ask = cmd("KEYS");
    ask.arg(format!("*{}*", group.id));
    let mut keys: Vec<String> = ask.query_async(&mut raw).await.unwrap();
    keys.sort();
    let names = [('d', ":0"), ('e', ""), ('h', ""), ('o', ""), ('s', "")];
    let names = names.map(|(kind, end)| key(kind, group.id) + end);
    assert_eq!(keys, names);
    let mut bytes = 0;
    for key in &keys {
        let mut usage = cmd("MEMORY");
        usage.arg("USAGE").arg(key).arg("SAMPLES").arg(0);
        let used: u64 = usage.query_async(&mut raw).await.unwrap();
        eprintln!("{key}: {used} B");
        bytes += used;
    }
    assert!(bytes <= IDLE_GROUP_MAX, "{bytes} B");
    let mut ask = cmd("KEYS");
    ask.arg("[ai]{*");
    let lists: Vec<String> = ask.query_async(&mut raw).await.unwrap();
    assert!(lists.is_empty(), "{lists:?} name groups");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_takes_no_messages_until_there_is_room() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let said = text(user(), "在吗");
    let first = appended(group.append(&said).await);
    let memory = process.stores.memory.clone();
    let watched = memory.watch(Metrics::new().unwrap(), CancellationToken::new());
    let tasks = Tasks::default();
    tasks.spawn(watched);
    let limit_to = async |percent| {
        set_maxmemory(&server, used_memory(&server).await * percent / 100).await;
        until(&group, |outcome| *outcome == Outcome::Full).await;
    };
    // Above the bound of ours only new messages are refused.
    limit_to(110).await;
    assert_eq!(repeated(group.append(&said).await).pos, first.pos);
    appended(group.append(&joined(user())).await);
    // Above Redis' own it takes nothing.
    limit_to(50).await;
    set_maxmemory(&server, 1 << 30).await;
    until(&group, |outcome| matches!(outcome, Outcome::Appended(_))).await;
    let stopped = tasks.stop(Duration::ZERO, std::future::pending());
    stopped.await;
}

async fn set_maxmemory(server: &RedisServer, bytes: u64) {
    let mut raw = server.raw().await;
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("maxmemory").arg(bytes);
    set.exec_async(&mut raw).await.unwrap();
}

async fn used_memory(server: &RedisServer) -> u64 {
    let mut raw = server.raw().await;
    let mut info = cmd("INFO");
    let info: String = info.arg("memory").query_async(&mut raw).await.unwrap();
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

async fn until(group: &Group, fits: impl Fn(&Outcome) -> bool) {
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    let asking = async {
        while !fits(&group.append(&text(user(), "在吗")).await) {
            poll.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .expect("another outcome");
}
