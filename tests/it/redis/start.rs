//! Which servers are refused, and what a server is given at the start.

use std::error::Error as _;

use qunliu::lifecycle::Tasks;
use qunliu::store::StoreError;
use qunliu::store::log::Outcome;
use qunliu::store::redis::options::Options;
use qunliu::store::redis::stores::RedisStores;
use redis::cmd;

use crate::support::eventually;
use crate::support::forwarder::Forwarder;
use crate::support::logs::{DEADLINE, new_group, set_stored, text, user};
use crate::support::redis::{RedisServer, SAFE, options, url};

async fn refusal(server: &RedisServer, allow_data_loss: bool) -> Option<String> {
    let options = Options {
        allow_data_loss,
        ..Options::default()
    };
    let url = server.admin_url();
    match RedisStores::connect(&url, &options, &Tasks::default()).await {
        Ok(_) => None,
        Err(error @ StoreError::Failed { .. }) => Some(error.source().unwrap().to_string()),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_would_lose_accepted_messages_is_refused() {
    for (setting, value) in [("appendonly", "no"), ("appendfsync", "everysec")] {
        let setting_arg = format!("--{setting}");
        let settings = SAFE.iter().copied().chain([setting_arg.as_str(), value]);
        let Some(server) = RedisServer::start_with(&settings.collect::<Vec<_>>()).await else {
            return;
        };
        let reason = refusal(&server, false).await.unwrap();
        assert!(
            reason.contains(setting) && reason.contains(value),
            "{reason}"
        );
        assert!(
            reason.contains("CONFIG SET"),
            "{reason} does not say how to mend it"
        );
        assert_eq!(
            refusal(&server, true).await,
            None,
            "the operator may allow it"
        );
    }
}

#[tokio::test]
async fn a_user_who_may_not_read_settings_is_told_what_to_look_at() {
    for (setting, value) in [("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")] {
        let setting_arg = format!("--{setting}");
        let settings = SAFE.iter().copied().chain([setting_arg.as_str(), value]);
        let Some(server) = RedisServer::start_with(&settings.collect::<Vec<_>>()).await else {
            return;
        };
        let refused = server.try_process(&options()).await.err().unwrap();
        let reason = refused.source().unwrap().to_string();
        assert!(reason.contains(setting), "{reason}: INFO tells it, too");
    }
    let server = RedisServer::start().await.unwrap();
    let refused = server.try_process(&Options::default()).await.err().unwrap();
    let reason = refused.source().unwrap().to_string();
    for named in ["CONFIG GET appendfsync", "redis.appendfsync_assured"] {
        assert!(reason.contains(named), "{reason}");
    }
    assert!(server.try_process(&options()).await.is_ok());
    assert_eq!(refusal(&server, false).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_keys_when_full_is_always_refused() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    set.exec_async(&mut server.raw().await).await.unwrap();
    for allow_data_loss in [false, true] {
        let reason = refusal(&server, allow_data_loss).await.unwrap();
        assert!(reason.contains("allkeys-lru"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_may_answer_later() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    server.kill();
    let refused = server.try_process(&options()).await.err().unwrap();
    assert!(refused.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_functions_were_flushed_is_given_them_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    cmd("FUNCTION")
        .arg("FLUSH")
        .exec_async(&mut server.raw().await)
        .await
        .unwrap();
    assert_eq!(group.say(user(), "1").await.pos, group.pos(1));
    cmd("FUNCTION")
        .arg("FLUSH")
        .exec_async(&mut server.raw().await)
        .await
        .unwrap();
    set_stored(&*group.log, group.id, group.pos(1)).await;
    assert_eq!(group.head().await.stored, group.pos(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_a_down_server_comes_at_once() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    server.kill();
    let asking = async {
        for _ in 0..100 {
            let heads = group.log.heads(&[group.id], None).await;
            assert!(heads.unwrap_err().is_transient());
        }
    };
    // A tenth of what they take if each waits for a connection.
    let soon = std::time::Duration::from_secs(20);
    tokio::time::timeout(soon, asking)
        .await
        .expect("calls queued up");
}

/// Behind an address that moves, a master that is demoted keeps its connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_answered_by_a_demoted_master_asks_the_address_again() {
    let Some(one) = RedisServer::start().await else {
        return;
    };
    let two = RedisServer::start().await.unwrap();
    let address = Forwarder::to(one.port()).await;
    let tasks = Tasks::default();
    let stores = RedisStores::connect(&url(address.port()), &options(), &tasks).await;
    let group = new_group(&stores.unwrap().log).await;
    group.say(user(), "在吗").await;
    two.follow(&one).await;
    let mut promote = cmd("REPLICAOF");
    promote.arg("NO").arg("ONE");
    promote.exec_async(&mut two.raw().await).await.unwrap();
    one.follow(&two).await;
    address.lead(two.port());
    let refused = group.log.append(group.request(&text(user(), "在吗"))).await;
    assert!(refused.unwrap_err().is_transient());
    eventually(DEADLINE, async || {
        let again = group.log.append(group.request(&text(user(), "在吗")));
        // It is another history there.
        matches!(again.await, Ok(Outcome::OtherHistory(_)))
    })
    .await;
}
