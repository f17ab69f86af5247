//! A tail sees everything although its connection breaks or the stream is cut.

use std::time::Duration;

use qunliu::model::event::Kind;
use qunliu::model::position::Position;
use qunliu::store::log::Opened;
use redis::cmd;

use crate::support::logs::{Group, new_group, seqs, tail_entries, tailed, user};
use crate::support::redis::{RedisServer, eventually, key};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_goes_on_after_the_server_was_restarted() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    group.say(user(), "1").await;
    assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [1]);

    server.restart().await;
    let history = eventually(|| group.log.history(group.id.partition())).await;
    let next = Group {
        history,
        epoch: 2,
        ..group
    };
    eventually(|| next.log.prepare(next.id, &next.history, 2)).await;
    assert_eq!(next.open(2, 1, None).await, Opened::Yes);
    for words in ["2", "3"] {
        next.say(user(), words).await;
    }
    let seen = tail_entries(&mut tail, next.id, 2).await;
    assert_eq!(
        seen.iter().map(|entry| entry.pos).collect::<Vec<_>>(),
        [next.pos(2), next.pos(3)]
    );
    next.say(user(), "4, which rings").await;
    assert_eq!(seqs(&tail_entries(&mut tail, next.id, 1).await), [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_shown_as_lost_and_holds_up_no_other_group() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let log = &process.stores.log;
    let (group, other) = (new_group(log).await, new_group(log).await);
    group.say(user(), "1").await;
    let mut raw = server.raw().await;
    let (stream, head) = (key('s', group.id), key('h', other.id));
    let mut spoil = cmd("XADD");
    spoil
        .arg(stream)
        .arg("1-*")
        .arg("m")
        .arg("?")
        .arg("b")
        .arg("?");
    spoil.exec_async(&mut raw).await.unwrap();
    let mut tail = log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    let seen = tail_entries(&mut tail, group.id, 2).await;
    let kinds: Vec<_> = seen.iter().map(|entry| (entry.kind, entry.count)).collect();
    assert_eq!(kinds, [(Kind::Message, 1), (Kind::Lost, 1)]);
    group.say(user(), "3").await;
    assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [3]);
    let page = log.range(group.id, Position::START, None, 9).await.unwrap();
    assert_eq!(seqs(&page), [1, 2, 3]);

    // A head that cannot be read: the other group's is compared all the same.
    let mut spoil = cmd("SET");
    spoil.arg(head).arg("?").exec_async(&mut raw).await.unwrap();
    tail.watch(other.id, Position::START);
    group.say(user(), "4").await;
    assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_reads_again_after_its_connection_was_cut() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    group.say(user(), "1").await;
    tail_entries(&mut tail, group.id, 1).await;
    // Less than the sweeps of as many rounds, 20 s, which would find everything too.
    let rounds = tokio::time::timeout(Duration::from_secs(16), async {
        for seq in 2..6 {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL")
                .arg("TYPE")
                .arg("normal")
                .arg("SKIPME")
                .arg("yes");
            kill.exec_async(&mut server.raw().await).await.unwrap();
            let said = crate::support::logs::text(user(), "unheard");
            eventually(|| group.log.append(group.request(&said))).await;
            assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [seq]);
        }
    });
    rounds.await.expect("the tail waited for its sweeps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_tells_of_a_head_that_it_cannot_read_up_to() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    group.say(user(), "1").await;
    tail_entries(&mut tail, group.id, 1).await;
    group.say(user(), "2").await;
    group.say(user(), "3").await;
    let mut trim = cmd("XTRIM");
    trim.arg(key('s', group.id)).arg("MINID").arg("1-9");
    trim.exec_async(&mut server.raw().await).await.unwrap();
    let seen = tailed(&mut tail).await.remove(0);
    assert!(seen.entries.is_empty());
    assert_eq!(seen.head_above.map(|head| head.pos), Some(group.pos(3)));

    tail.watch(group.id, group.pos(3));
    group.say(user(), "4").await;
    assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_is_told_of_a_new_epoch_without_events() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    tail.watch(group.id, group.pos(0));
    let next = Group { epoch: 2, ..group };
    assert_eq!(next.open(1, 0, None).await, Opened::Yes);
    let seen = tailed(&mut tail).await.remove(0);
    assert_eq!(seen.head_above.map(|head| head.pos), Some(next.pos(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_above_a_cursor_is_found_although_nothing_rang() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let log = &process.stores.log;
    let mut tail = log.tail().await.unwrap();
    let mut groups = Vec::new();
    for _ in 0..300 {
        let group = new_group(log).await;
        tail.watch(group.id, group.pos(0));
        groups.push(group.id);
    }
    // Only streams ring. Of the heads two cannot be read, and one is that of a group with more events.
    let mut raw = server.raw().await;
    let further = new_group(log).await;
    further.say(user(), "1").await;
    let mut read = cmd("GET");
    let head: Vec<u8> = read
        .arg(key('h', further.id))
        .query_async(&mut raw)
        .await
        .unwrap();
    let [garbled, other_type, ahead] = [groups[7], groups[8], groups[290]];
    for (group, kept) in [(garbled, b"?".to_vec()), (ahead, head)] {
        let mut set = cmd("SET");
        set.arg(key('h', group)).arg(kept);
        set.exec_async(&mut raw).await.unwrap();
    }
    let mut replace = redis::pipe();
    replace
        .del(key('h', other_type))
        .lpush(key('h', other_type), "?");
    replace.exec_async(&mut raw).await.unwrap();

    let mut seen = tailed(&mut tail).await;
    let only = seen.pop().unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    assert_eq!((only.group, only.entries.len()), (ahead, 0));
    assert_eq!(only.head_above.map(|head| head.pos), Some(further.pos(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tail_follows_more_groups_than_one_read_takes() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let mut tail = process.stores.log.tail().await.unwrap();
    let mut expected = std::collections::HashSet::new();
    for _ in 0..300 {
        let group = new_group(&process.stores.log).await;
        tail.watch(group.id, Position::START);
        group.say(user(), "1").await;
        expected.insert(group.id);
    }
    while !expected.is_empty() {
        for seen in tailed(&mut tail).await {
            assert!(
                expected.remove(&seen.group),
                "{} was seen twice",
                seen.group
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_read_is_made_again_without_another_ring() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    // A busy machine may be late once; a tail that waits for its sweep is late every time.
    let mut late = 0;
    while late < 3 {
        let group = new_group(&process.stores.log).await;
        let mut tail = process.stores.log.tail().await.unwrap();
        group.say(user(), "1").await;
        tail.watch(group.id, Position::START);
        if futures::poll!(&mut tail.next()).is_ready() {
            // The answer was there already: nothing was interrupted.
            continue;
        }
        let reading = tail_entries(&mut tail, group.id, 1);
        if let Ok(seen) = tokio::time::timeout(Duration::from_secs(3), reading).await {
            assert_eq!(seqs(&seen), [1]);
            return;
        }
        late += 1;
    }
    panic!("the tail waited for its sweep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_longer_than_one_read_is_read_to_its_end_at_once() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    for n in 0..100 {
        group.say(user(), &n.to_string()).await;
    }
    // A busy machine may be late once; a tail that waits for its sweep is late every time.
    for _ in 0..3 {
        let mut tail = process.stores.log.tail().await.unwrap();
        tail.watch(group.id, Position::START);
        let reading = tail_entries(&mut tail, group.id, 100);
        if let Ok(seen) = tokio::time::timeout(Duration::from_secs(4), reading).await {
            assert_eq!(seqs(&seen), (1..=100).collect::<Vec<_>>());
            return;
        }
    }
    panic!("the tail waited for its sweep");
}
