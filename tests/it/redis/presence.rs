//! Presence when processes die and when Redis forgets.

use std::sync::Arc;

use qunliu::model::id::UserId;
use qunliu::store::presence::Presence;

use crate::contract::presence::sorted;
use crate::support::eventually;
use crate::support::logs::{DEADLINE, user};
use crate::support::redis::{RedisServer, eventually as once_it_answers};

/// Waits until the dead are taken off, beating as a process does; answers whom that made absent.
async fn buried(presence: &Arc<dyn Presence>, count: usize) -> Vec<UserId> {
    let found = std::cell::RefCell::new(Vec::new());
    eventually(DEADLINE, async || {
        presence.beat().await.unwrap();
        let gone = presence.bury().await.unwrap();
        found.borrow_mut().extend(gone);
        found.borrow().len() >= count
    })
    .await;
    found.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_a_process_that_died_are_named_once_unless_they_are_elsewhere() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (alive, dying) = (server.mortal().await, server.mortal().await);
    let (here, there) = (&alive.stores.presence, dying.stores.presence.clone());
    let moved = user();
    let lost: Vec<UserId> = (0..501).map(|_| user()).collect();
    there.arrive(&lost[..500]).await.unwrap();
    there.arrive(&lost[500..]).await.unwrap();
    there.arrive(&[moved]).await.unwrap();
    there.beat().await.unwrap();
    assert_eq!(here.arrive(&[moved]).await.unwrap(), []);
    assert_eq!(here.bury().await.unwrap(), [], "it lives");
    dying.die().await;
    assert_eq!(sorted(buried(here, 501).await), sorted(lost));
    assert_eq!(here.bury().await.unwrap(), []);
    assert_eq!(here.online(&[moved]).await.unwrap(), [moved]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_taken_for_dead_is_told_to_arrive_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (server.mortal().await, server.mortal().await);
    let (silent, other) = (&one.stores.presence, &two.stores.presence);
    let li = user();
    silent.arrive(&[li]).await.unwrap();
    assert_eq!(buried(other, 1).await, [li]);
    assert!(!silent.beat().await.unwrap());
    assert_eq!(silent.arrive(&[li]).await.unwrap(), [li]);
    assert!(silent.beat().await.unwrap());
    assert_eq!(other.online(&[li]).await.unwrap(), [li]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_redis_forgot_everything_nobody_is_taken_for_dead_and_all_arrive_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (server.process().await, server.process().await);
    let (presence, other) = (&one.stores.presence, &two.stores.presence);
    let li = user();
    presence.arrive(&[li]).await.unwrap();
    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    assert!(!other.beat().await.unwrap());
    assert_eq!(other.bury().await.unwrap(), []);
    assert!(!presence.beat().await.unwrap());
    assert_eq!(presence.arrive(&[li]).await.unwrap(), [li]);
    assert_eq!(other.online(&[li]).await.unwrap(), [li]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_are_heard_again_after_a_restart() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let presence = process.stores.presence.clone();
    let hints = std::cell::RefCell::new(presence.hints());
    server.restart().await;
    let hint = qunliu::model::hint::Hint {
        kind: qunliu::model::hint::HintKind::Typing,
        user: user(),
        groups: Vec::new(),
    };
    // Those told before it subscribed again are lost, as hints may be.
    eventually(DEADLINE, async || {
        once_it_answers(|| presence.tell(std::slice::from_ref(&hint))).await;
        let heard = hints.borrow_mut().try_recv();
        heard.is_ok_and(|heard| heard == hint)
    })
    .await;
}
