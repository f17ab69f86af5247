//! What must hold when MongoDB is put back to an older state while Redis goes on (epochs.md rule
//! 11): everyone ends with the same log and was told where it was cut, no position shows two
//! messages, what Redis still has is stored again, what is nowhere any more is shown as lost, and
//! unread counts equal a recount.

use super::services::Cluster;
use super::{seed, sum, turn};
use crate::support::load::{Counts, Load, Size, of};
use crate::support::process::wait_for;
use crate::support::services::Service;

const LOST: &str = "qunliu_events_lost_total";
const OLDER: &str = "qunliu_store_older_total";

/// Few groups, so that each says more than its live window between the copy and the loss; and long
/// enough that they still talk when MongoDB is back, on a slow machine, too.
fn size() -> Size {
    Size {
        users: 10,
        groups: 2,
        rate: 100,
        seconds: 30,
        seed: seed(),
    }
}

/// Stops MongoDB for a moment to copy what it holds.
fn copy(cluster: &Cluster) {
    cluster.services.pause(Service::MongoDb);
    cluster.services.copy(Service::MongoDb);
    cluster.services.resume(Service::MongoDb);
}

/// Ends MongoDB, puts the copy in the place of its data, and starts it.
fn put_back(cluster: &Cluster) {
    cluster.services.kill(Service::MongoDb);
    cluster.services.put_back(Service::MongoDb);
    cluster.services.up(Service::MongoDb);
}

/// Waits until all is mended, and takes the verdict.
async fn mends(cluster: &Cluster, load: Load) -> Counts {
    wait_for("the loss is noticed", async || {
        (sum(&cluster.nodes, OLDER).await > 0).then_some(())
    })
    .await;
    let counts = load.passed().await;
    assert!(of(&counts, "epochs told") > 0, "clients are told");
    counts
}

#[tokio::test]
async fn a_mongodb_put_back_a_little_is_mended_from_redis_without_loss() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    // Slowly: what is said between the copy and the loss must still stand in Redis.
    let size = Size {
        rate: 40,
        seconds: 40,
        ..size()
    };
    let mut load = Load::start(&cluster.house, &cluster.nodes, &size);
    load.sent(400).await;
    copy(&cluster);
    load.sent(600).await;
    put_back(&cluster);
    mends(&cluster, load).await;
    assert_eq!(sum(&cluster.nodes, LOST).await, 0);
}

#[tokio::test]
async fn a_mongodb_put_back_far_shows_what_is_nowhere_as_lost() {
    let _turn = turn().await;
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let flags = ["--may-lose"];
    let mut load = Load::start_with(&cluster.house, &cluster.nodes, &size(), &flags);
    load.sent(200).await;
    copy(&cluster);
    // What is not stored is not lost either.
    load.stored(1700).await;
    put_back(&cluster);
    let counts = mends(&cluster, load).await;
    let lost = sum(&cluster.nodes, LOST).await;
    assert!(lost > 0, "inconclusive: Redis still had everything");
    assert!(of(&counts, "shown as lost") > 0, "{lost} were lost");
}
