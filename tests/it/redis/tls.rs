//! Redis is spoken to over TLS, and only if its certificate is trusted.

use std::collections::BTreeSet;

use qunliu::lifecycle::Tasks;
use qunliu::store::redis::options::Options;
use qunliu::store::redis::stores::RedisStores;

use crate::support::certificates::Authority;
use crate::support::cluster::RedisCluster;
use crate::support::logs::{new_group, user};
use crate::support::redis::{RedisServer, SAFE, USER_AND_PASSWORD, free_port, options};
use crate::support::sentinels::Sentinels;

/// A server that speaks TLS on this port.
async fn server(authority: &Authority, port: u16) -> Option<RedisServer> {
    let tls = authority.redis(port);
    let tls = tls.iter().map(String::as_str);
    let settings: Vec<&str> = SAFE.iter().copied().chain(tls).collect();
    RedisServer::start_with(&settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_whose_certificate_is_trusted_is_used() {
    let authority = Authority::new();
    let file = |path: std::path::PathBuf| path.display().to_string();
    let (port, ca) = (free_port(), file(authority.ca()));
    let Some(_server) = server(&authority, port).await else {
        return;
    };
    let url = format!("rediss://{USER_AND_PASSWORD}@127.0.0.1:{port}/");
    let connect = async |tls_ca: String| {
        let options = Options {
            tls_ca,
            ..options()
        };
        RedisStores::connect(&url, &options, &Tasks::default()).await
    };
    let stranger = Authority::new();
    for untrusted in [String::new(), file(stranger.ca())] {
        assert!(connect(untrusted).await.is_err());
    }
    let stores = connect(ca).await.unwrap();
    new_group(&stores.log).await.say(user(), "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_the_master_that_they_name_are_spoken_to_over_tls() {
    let (authority, port) = (Authority::new(), free_port());
    let Some(_server) = server(&authority, port).await else {
        return;
    };
    let sentinels = Sentinels::over_tls(port, &authority).await;
    let connect = async |tls_ca: &Authority| {
        let options = Options {
            tls_ca: tls_ca.ca().display().to_string(),
            ..options()
        };
        RedisStores::connect(&sentinels.url(), &options, &Tasks::default()).await
    };
    assert!(connect(&Authority::new()).await.is_err());
    let stores = connect(&authority).await.unwrap();
    new_group(&stores.log).await.say(user(), "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_master_of_a_cluster_is_spoken_to_over_tls() {
    let authority = Authority::new();
    let Some(cluster) = RedisCluster::over_tls(&authority).await else {
        return;
    };
    let options = Options {
        tls_ca: authority.ca().display().to_string(),
        ..options()
    };
    let (url, tasks) = (cluster.url(), Tasks::default());
    let stores = RedisStores::connect(&url, &options, &tasks).await.unwrap();
    let mut spoken = BTreeSet::new();
    while spoken.len() < cluster.servers.len() {
        let group = new_group(&stores.log).await;
        group.say(user(), "1").await;
        spoken.insert(cluster.index(group.id).await);
    }
}
