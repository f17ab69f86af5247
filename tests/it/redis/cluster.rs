//! Groups lie on several masters: each is found, also when it moves, and none waits for another.

use std::time::Duration;

use qunliu::model::position::Position;
use qunliu::store::log::Outcome;
use qunliu::store::redis::stores::RedisStores;
use redis::cmd;

use crate::support::cluster::{RedisCluster, id};
use crate::support::logs::{Group, new_group, seqs, tail_entries, text, user};
use crate::support::redis::{Process, eventually};

/// A group on this server.
async fn group_on(cluster: &RedisCluster, stores: &RedisStores, index: usize) -> Group {
    loop {
        let group = new_group(&stores.log).await;
        if cluster.index(group.id).await == index {
            return group;
        }
    }
}

/// Moves all keys of a group's slot from one server to another.
async fn move_slot(cluster: &RedisCluster, group: &Group, from: usize, to: usize) {
    let (from, to) = (&cluster.servers[from], &cluster.servers[to]);
    let (mut old, mut new) = (from.raw().await, to.raw().await);
    let ids = (id(from).await, id(to).await);
    let cluster = || cmd("CLUSTER");
    let tag = format!("{{{}}}", group.id.partition());
    let slot: u16 = cluster()
        .arg("KEYSLOT")
        .arg(tag)
        .query_async(&mut new)
        .await
        .unwrap();
    let mut set = cluster();
    set.arg("SETSLOT").arg(slot).arg("IMPORTING").arg(&ids.0);
    set.exec_async(&mut new).await.unwrap();
    let mut set = cluster();
    set.arg("SETSLOT").arg(slot).arg("MIGRATING").arg(&ids.1);
    set.exec_async(&mut old).await.unwrap();
    let mut keys = cluster();
    let keys = keys.arg("GETKEYSINSLOT").arg(slot).arg(1000);
    let keys: Vec<String> = keys.query_async(&mut old).await.unwrap();
    let mut migrate = cmd("MIGRATE");
    migrate
        .arg("127.0.0.1")
        .arg(to.port())
        .arg("")
        .arg(0)
        .arg(5000)
        .arg("KEYS")
        .arg(keys);
    migrate.exec_async(&mut old).await.unwrap();
    for raw in [&mut new, &mut old] {
        let mut set = cluster();
        set.arg("SETSLOT").arg(slot).arg("NODE").arg(&ids.1);
        set.exec_async(raw).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_moved_is_found_and_is_under_another_history() {
    let Some(cluster) = RedisCluster::start().await else {
        return;
    };
    let process = Process::at(&cluster.url()).await;
    let group = group_on(&cluster, &process.stores, 0).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    group.say(user(), "1").await;
    assert_eq!(seqs(&tail_entries(&mut tail, group.id, 1).await), [1]);

    move_slot(&cluster, &group, 0, 1).await;
    let said = text(user(), "2");
    let outcome = eventually(|| group.log.append(group.request(&said))).await;
    let Outcome::OtherHistory(history) = outcome else {
        panic!("{outcome:?}");
    };
    let next = Group {
        history,
        epoch: 2,
        ..group
    };
    next.open(2, 1, None).await;
    next.say(user(), "2").await;
    assert_eq!(seqs(&tail_entries(&mut tail, next.id, 1).await), [2]);
    assert_eq!(
        seqs(&next.entries().await),
        [1, 2],
        "what was there moved along"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_keeps_nobody_from_the_others() {
    let Some(mut cluster) = RedisCluster::start().await else {
        return;
    };
    let process = Process::at(&cluster.url()).await;
    let dead = group_on(&cluster, &process.stores, 1).await;
    let alive = group_on(&cluster, &process.stores, 2).await;
    let mut tail = process.stores.log.tail().await.unwrap();
    for group in [&dead, &alive] {
        tail.watch(group.id, Position::START);
        group.say(user(), "1").await;
        tail_entries(&mut tail, group.id, 1).await;
    }
    cluster.servers[1].kill();
    let said = text(user(), "2");
    let refused = dead.log.append(dead.request(&said)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    // Less than the sweeps of as many rounds, 50 s, which would find everything too.
    let rounds = tokio::time::timeout(Duration::from_secs(25), async {
        for seq in 2..12 {
            alive.say(user(), "more").await;
            assert_eq!(seqs(&tail_entries(&mut tail, alive.id, 1).await), [seq]);
        }
    });
    rounds.await.expect("the tail waited for the dead master");

    cluster.servers[1].run().await;
    let outcome = eventually(|| dead.log.append(dead.request(&said))).await;
    assert!(matches!(outcome, Outcome::OtherHistory(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_found_and_is_another_history() {
    let Some(mut cluster) = RedisCluster::with_replicas().await else {
        return;
    };
    let process = Process::at(&cluster.url()).await;
    let group = group_on(&cluster, &process.stores, 1).await;
    group.say(user(), "1").await;
    cluster.servers[1].kill();
    cluster.promoted(1).await;
    let said = text(user(), "2");
    let outcome = eventually(|| group.log.append(group.request(&said))).await;
    assert!(matches!(outcome, Outcome::OtherHistory(_)), "{outcome:?}");
    assert_eq!(seqs(&group.entries().await), [1]);
}
