//! Servers that were fit at the start and are not any more.

use qunliu::telemetry::Metrics;
use redis::cmd;

use crate::support::redis::RedisServer;

async fn set(server: &RedisServer, policy: &str) {
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("maxmemory-policy").arg(policy);
    set.exec_async(&mut server.raw().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_changed_while_it_runs_are_shown_until_they_are_right_again() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let (fitness, metrics) = (&process.stores.fitness, Metrics::new().unwrap());
    for (policy, unfit) in [("noeviction", 0), ("allkeys-lru", 1), ("noeviction", 0)] {
        set(&server, policy).await;
        fitness.look(&metrics).await;
        assert_eq!(metrics.redis_unfit.get(), unfit, "{policy}");
    }
    server.kill();
    fitness.look(&metrics).await;
    assert_eq!(metrics.redis_unfit.get(), 0, "who is away is not judged");
}
