//! Signals between processes, and over a restart.

use std::time::Duration;

use qunliu::store::signals::Signal;

use crate::contract::signals::{next, one_of_each};
use crate::support::redis::{RedisServer, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_reach_another_process() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (server.process().await, server.process().await);
    let mut listener = two.stores.signals.listen();
    let told = one_of_each();
    one.stores.signals.publish(&told).await.unwrap();
    for _ in &told {
        assert!(told.contains(&next(&mut listener).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_it_is_said_that_signals_may_be_lost() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let mut listener = process.stores.signals.listen();
    server.kill();
    let told = one_of_each();
    let published = process.stores.signals.publish(&told).await;
    assert!(published.unwrap_err().is_transient());
    server.run().await;
    assert_eq!(next(&mut listener).await, Signal::Lost);
    eventually(|| process.stores.signals.publish(&told[..1])).await;
    assert_eq!(next(&mut listener).await, told[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_version_tells_is_passed_over() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let mut listener = process.stores.signals.listen();
    let told = one_of_each();
    let known = serde_json::to_string(&told[1]).unwrap();
    for message in ["nonsense".to_owned(), format!(r#"[{{"newer":1}},{known}]"#)] {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("user:u_1").arg(message);
        publish.exec_async(&mut server.raw().await).await.unwrap();
    }
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap(), told[1]);
}
