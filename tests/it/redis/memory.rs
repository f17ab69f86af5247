//! How far back `client_id`s are remembered: two memories that take turns.

use qunliu::model::position::Position;
use qunliu::store::log::{OnMiss, Outcome};
use redis::cmd;

use crate::support::logs::{Group, appended, new_group, repeated, set_stored, text, user};
use crate::support::redis::{RedisServer, key};

/// Makes a memory as old as the epoch of Unix time.
async fn age(server: &RedisServer, group: &Group, memory: u8) {
    let key = format!("{}:{memory}", key('d', group.id));
    let mut raw = server.raw().await;
    let from: String = cmd("HGET")
        .arg(&key)
        .arg("from")
        .query_async(&mut raw)
        .await
        .unwrap();
    let (pos, _) = from.split_once(' ').unwrap();
    cmd("HSET")
        .arg(&key)
        .arg("from")
        .arg(format!("{pos} 1"))
        .exec_async(&mut raw)
        .await
        .unwrap();
}

/// Sends something new that was tried first when `known` was the head.
async fn retry(group: &Group, known: Position) -> Outcome {
    let mut request = group.request(&text(user(), "again"));
    request.on_miss = OnMiss::AppendIfRemembered(known);
    group.log.append(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_try_under_another_epoch_is_looked_up_in_the_store() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let known = group.say(user(), "1").await.pos;
    let next = Group {
        epoch: 2,
        ..group.clone()
    };
    next.open(2, 1, None).await;
    assert_eq!(retry(&next, known).await, Outcome::AskStore);
    assert_eq!(appended(retry(&next, next.pos(1)).await).pos, next.pos(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_memory_is_forgotten_only_when_all_in_it_is_stored() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let said = text(user(), "1");
    appended(group.append(&said).await);
    age(&server, &group, 0).await;
    group
        .say(user(), "2, after which the second memory is the younger")
        .await;
    assert_eq!(repeated(group.append(&said).await).pos, group.pos(1));

    age(&server, &group, 1).await;
    group.say(user(), "3, and the first is not stored").await;
    assert_eq!(repeated(group.append(&said).await).pos, group.pos(1));
    assert_eq!(
        appended(retry(&group, group.pos(0)).await).pos,
        group.pos(4)
    );

    set_stored(&*group.log, group.id, group.pos(1)).await;
    group
        .say(user(), "5, and the first memory begins anew")
        .await;
    let mut request = group.request(&said);
    request.on_miss = OnMiss::AppendIfRemembered(group.pos(0));
    assert_eq!(group.log.append(request).await.unwrap(), Outcome::AskStore);
    assert_eq!(
        appended(retry(&group, group.pos(1)).await).pos,
        group.pos(6)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_from_either_memory() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let (old, young) = (text(user(), "1"), text(user(), "2"));
    appended(group.append(&old).await);
    age(&server, &group, 0).await;
    appended(group.append(&young).await);
    assert_eq!(repeated(group.append(&old).await).count, 1);
    assert_eq!(repeated(group.append(&young).await).count, 2);
}
