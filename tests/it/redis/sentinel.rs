//! Who the master is, is asked of sentinels; what they call one must be one.

use std::error::Error as _;

use qunliu::store::log::Outcome;

use crate::support::logs::{Group, new_group, text, user};
use crate::support::process::wait_for;
use crate::support::redis::{Process, RedisServer, eventually};
use crate::support::sentinels::Sentinels;

/// A master and its replica under sentinels, with a group of a process of ours.
struct Pair {
    old: RedisServer,
    new: RedisServer,
    sentinels: Sentinels,
    group: Group,
    _process: Process,
}

impl Pair {
    /// With one message in the group.
    async fn start() -> Option<Self> {
        let old = RedisServer::start().await?;
        let new = RedisServer::start().await.unwrap();
        new.follow(&old).await;
        let sentinels = Sentinels::over(&old, 1).await;
        let process = Process::at(&sentinels.url()).await;
        let group = new_group(&process.stores.log).await;
        group.say(user(), "1").await;
        Some(Self {
            old,
            new,
            sentinels,
            group,
            _process: process,
        })
    }

    async fn is_another_history(&self) {
        let (group, said) = (&self.group, text(user(), "2"));
        let outcome = eventually(|| group.log.append(group.request(&said))).await;
        assert!(matches!(outcome, Outcome::OtherHistory(_)), "{outcome:?}");
        let history = eventually(|| group.log.history(group.id.partition())).await;
        assert_ne!(history, group.history);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promoted_replica_is_found_and_is_another_history() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.old.kill();
    pair.sentinels.promoted(pair.new.port()).await;
    pair.is_another_history().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_made_a_replica_while_it_lives_is_left() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    pair.sentinels.fail_over().await;
    pair.sentinels.promoted(pair.new.port()).await;
    wait_for("the old master is a replica", async || {
        let mut raw = pair.old.try_raw().await?;
        let mut info = redis::cmd("INFO");
        let info = info.arg("replication").query_async(&mut raw);
        let info: String = info.await.ok()?;
        info.contains("role:slave").then_some(())
    })
    .await;
    pair.is_another_history().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_sentinels_call_master_is_not_used() {
    let Some(master) = RedisServer::start().await else {
        return;
    };
    let replica = RedisServer::start().await.unwrap();
    let sentinels = Sentinels::over(&replica, 0).await;
    replica.follow(&master).await;
    let refused = Process::try_at(&sentinels.url()).await.err().unwrap();
    assert!(refused.is_transient(), "{refused:?}");
    let cause = refused.source().unwrap().to_string();
    assert!(cause.contains("is none yet"), "{cause}");
}
