//! Consumers of several processes, and of processes that die.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use qunliu::model::position::Position;
use qunliu::store::consumers::Consumer;
use redis::cmd;

use crate::contract::consumers::{ack, positions, take};
use crate::support::logs::{DEADLINE, Group, new_group, user};
use crate::support::redis::{RedisServer, eventually, key};

const PERSIST: Consumer = Consumer::Persist;

fn stream(group: &Group) -> String {
    key('s', group.id)
}

async fn owners(server: &RedisServer) -> HashMap<String, String> {
    let mut raw = server.raw().await;
    let owners: HashMap<String, String> = cmd("HGETALL")
        .arg("owners{lease}")
        .query_async(&mut raw)
        .await
        .unwrap();
    let owner = |lease: String| lease.split_once(' ').unwrap().0.to_owned();
    owners
        .into_iter()
        .map(|(digit, lease)| (digit, owner(lease)))
        .collect()
}

/// Waits until the leases are spread over `count` processes.
async fn spread(server: &RedisServer, count: usize) {
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    let spreading = async {
        loop {
            poll.tick().await;
            let owners = owners(server).await;
            let distinct: HashSet<_> = owners.values().collect();
            if owners.len() == 16 && distinct.len() == count {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, spreading)
        .await
        .expect("leases were not spread");
}

async fn dirty(server: &RedisServer, group: &Group) -> Vec<String> {
    let key = format!("a{{{}}}", group.id.partition());
    cmd("SMEMBERS")
        .arg(key)
        .query_async(&mut server.raw().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_took_or_left_comes_to_another_in_order() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let dead = server.mortal().await;
    let group = new_group(&dead.stores.log).await;
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(group.say(user(), "taken").await.pos);
    }
    take(&dead.stores.consumers, PERSIST, group.id, 3).await;
    dead.die().await;
    let heir = server.mortal().await;
    let group = Group {
        log: heir.stores.log.clone(),
        ..group
    };
    said.push(group.say(user(), "left").await.pos);
    let taken = take(&heir.stores.consumers, PERSIST, group.id, 4).await;
    assert_eq!(positions(&taken), said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_a_dead_process_leaves_nothing_behind() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let dead = server.mortal().await;
    let group = new_group(&dead.stores.log).await;
    group.say(user(), "taken").await;
    take(&dead.stores.consumers, PERSIST, group.id, 1).await;
    dead.die().await;
    let heir = server.mortal().await;
    take(&heir.stores.consumers, PERSIST, group.id, 1).await;
    let mut info = cmd("XINFO");
    info.arg("CONSUMERS").arg(stream(&group)).arg("persist");
    let names: Vec<redis::Value> = info.query_async(&mut server.raw().await).await.unwrap();
    assert_eq!(names.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_the_partitions_and_miss_nothing() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (server.process().await, server.process().await);
    spread(&server, 2).await;
    let mut left = HashSet::new();
    for _ in 0..64 {
        let group = new_group(&one.stores.log).await;
        left.insert((group.id, group.say(user(), "1").await.pos));
    }
    let (mut by_one, mut by_two) = (0, 0);
    let taking = async {
        while !left.is_empty() {
            let (of, taken) = tokio::select! {
                taken = one.stores.consumers.take(PERSIST, 10) => (&mut by_one, taken),
                taken = two.stores.consumers.take(PERSIST, 10) => (&mut by_two, taken),
            };
            for delivery in taken.unwrap() {
                assert!(
                    left.remove(&(delivery.group, delivery.pos)),
                    "{delivery:?} came twice"
                );
                *of += 1;
            }
        }
    };
    tokio::time::timeout(DEADLINE, taking)
        .await
        .expect("something never came");
    assert!(by_one > 0 && by_two > 0, "{by_one} and {by_two}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_are_given_up_are_free_at_once() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (server.process().await, server.process().await);
    spread(&server, 2).await;
    let before: HashSet<_> = owners(&server).await.into_values().collect();
    one.stores.consumers.resign().await;
    let after: HashSet<_> = owners(&server).await.into_values().collect();
    assert_eq!(before.difference(&after).count(), 1);
    spread(&server, 1).await;
    let group = new_group(&two.stores.log).await;
    group.say(user(), "1").await;
    take(&two.stores.consumers, PERSIST, group.id, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_entry_is_delivered_as_lost() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let dead = server.mortal().await;
    let group = new_group(&dead.stores.log).await;
    for _ in 0..3 {
        group.say(user(), "taken").await;
    }
    take(&dead.stores.consumers, PERSIST, group.id, 3).await;
    let mut raw = server.raw().await;
    cmd("XDEL")
        .arg(stream(&group))
        .arg("1-2")
        .exec_async(&mut raw)
        .await
        .unwrap();
    dead.stores.consumers.release(PERSIST).await;
    let released = take(&dead.stores.consumers, PERSIST, group.id, 3).await;
    let lost: Vec<_> = released
        .iter()
        .map(|delivery| delivery.entry.is_err())
        .collect();
    assert_eq!(lost, [false, true, false]);
    dead.die().await;
    let heir = server.mortal().await;
    let taken = take(&heir.stores.consumers, PERSIST, group.id, 3).await;
    let lost: Vec<_> = taken
        .iter()
        .filter(|delivery| delivery.entry.is_err())
        .collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].pos, group.pos(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_listed_until_every_consumer_has_handled_it() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    for consumer in Consumer::ALL {
        assert_eq!(dirty(&server, &group).await, [group.id.to_string()]);
        let taken = take(&process.stores.consumers, *consumer, group.id, 1).await;
        ack(&process.stores.consumers, *consumer, &taken).await;
    }
    assert!(dirty(&server, &group).await.is_empty());
    group.say(user(), "2").await;
    assert_eq!(dirty(&server, &group).await, [group.id.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_whose_place_was_removed_begins_with_what_is_there() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    let mut destroy = cmd("XGROUP");
    destroy.arg("DESTROY").arg(stream(&group)).arg("unread");
    destroy.exec_async(&mut server.raw().await).await.unwrap();
    group.say(user(), "2").await;
    let taken = take(&process.stores.consumers, Consumer::Unread, group.id, 2).await;
    assert!(
        positions(&taken).ends_with(&[group.pos(1), group.pos(2)]),
        "{taken:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_go_on_after_the_server_was_restarted() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    let taken = take(&process.stores.consumers, PERSIST, group.id, 1).await;
    server.restart().await;
    let done = [(group.id, taken[0].pos)];
    eventually(|| process.stores.consumers.ack(PERSIST, &done)).await;
    let history = eventually(|| group.log.history(group.id.partition())).await;
    let next = Group {
        history,
        epoch: 2,
        ..group
    };
    eventually(|| next.log.prepare(next.id, &next.history, 2)).await;
    next.open(2, 1, None).await;
    let said: Vec<Position> = vec![next.say(user(), "2").await.pos];
    let taken = take(&process.stores.consumers, PERSIST, next.id, 1).await;
    assert_eq!(positions(&taken), said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_ring_was_lost_is_found_on_the_list() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    take(&process.stores.consumers, PERSIST, group.id, 1).await;
    let mut raw = server.raw().await;
    let mut read = cmd("XRANGE");
    read.arg(stream(&group)).arg("-").arg("+");
    let entries: Vec<(String, Vec<Vec<u8>>)> = read.query_async(&mut raw).await.unwrap();
    // In one step nobody listens and an event is appended.
    let mut silently = redis::pipe();
    silently.atomic();
    silently
        .cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes");
    silently
        .cmd("XADD")
        .arg(stream(&group))
        .arg("1-2")
        .arg(&entries[0].1);
    let list = format!("a{{{}}}", group.id.partition());
    silently.cmd("SADD").arg(list).arg(group.id.to_string());
    silently.exec_async(&mut raw).await.unwrap();
    let taken = take(&process.stores.consumers, PERSIST, group.id, 1).await;
    assert_eq!(positions(&taken), [group.pos(2)]);
}
