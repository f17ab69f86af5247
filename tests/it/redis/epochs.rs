//! No loss in Redis is silent (epochs.md): each is refused before an append, and mended by an
//! opening under a new epoch.

use std::sync::Arc;
use std::time::Duration;

use qunliu::model::event::Fixed;
use qunliu::model::position::Position;
use qunliu::store::log::{Log, Opened, Outcome, Prepared};
use redis::cmd;

use crate::support::logs::{
    DEADLINE, Group, appended, new_group, repeated, set_stored, text, user,
};
use crate::support::redis::{RedisServer, SAFE, eventually, options};

/// The group under the next epoch, of the history that serves now.
async fn under_next_epoch(group: &Group) -> Group {
    let history = eventually(|| group.log.history(group.id.partition())).await;
    Group {
        history,
        epoch: group.epoch + 1,
        ..group.clone()
    }
}

async fn delete(server: &RedisServer, keys: &[&str], group: &Group) {
    let partition = group.id.partition();
    for key in keys {
        let (kind, rest) = key.split_at(1);
        let key = format!("{kind}{{{partition}}}:{}{rest}", group.id);
        cmd("DEL")
            .arg(key)
            .exec_async(&mut server.raw().await)
            .await
            .unwrap();
    }
}

async fn append(group: &Group, fixed: &Fixed) -> Outcome {
    eventually(|| group.log.append(group.request(fixed))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_the_old_history_is_refused_and_the_log_goes_on_without_loss() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let li = user();
    let said = text(li, "kept");
    let first = appended(group.append(&said).await).pos;
    group.say(user(), "2").await;
    group.say(li, "3").await;

    server.restart().await;
    let next = under_next_epoch(&group).await;
    assert_ne!(next.history, group.history);
    let refused = append(&group, &text(li, "late")).await;
    assert_eq!(refused, Outcome::OtherHistory(next.history.clone()));
    let prepared = Prepared::Ready {
        top: Some(group.pos(3)),
        remembers: true,
    };
    assert_eq!(next.prepare().await, prepared);
    assert_eq!(next.open(4, 3, None).await, Opened::Yes);

    assert_eq!(repeated(next.append(&said).await).pos, first);
    let receipt = next.say(li, "4").await;
    assert_eq!((receipt.pos, receipt.count), (next.pos(4), 4));
    assert_eq!(next.head_of(Some(li)).await.1, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_append_survives_a_crash() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let mut accepted = 0;
    for n in 0..500 {
        let append = group
            .log
            .append(group.request(&text(user(), &n.to_string())));
        if n == 400 {
            // The crash comes while this one is on its way.
            let (outcome, ()) = tokio::join!(append, async { server.kill() });
            accepted += u64::from(outcome.is_ok());
            break;
        }
        append.await.unwrap();
        accepted += 1;
    }
    server.run().await;
    let groups = [group.id];
    let head = eventually(|| group.log.heads(&groups, None)).await;
    let seq = head[0].unwrap().0.pos.seq;
    assert!(seq >= accepted, "{accepted} were accepted, {seq} are there");
    let count = eventually(|| group.log.range(group.id, Position::START, None, 1000))
        .await
        .len();
    assert_eq!(u64::try_from(count).unwrap(), seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_which_a_key_is_lost_is_not_open() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    for key in ["s", "h", "o", "d:0"] {
        let group = new_group(&process.stores.log).await;
        let said = text(user(), "before");
        appended(group.append(&said).await);
        delete(&server, &[key], &group).await;
        assert_eq!(
            group.append(&said).await,
            Outcome::NotOpen,
            "a repeat without {key}"
        );
        assert_eq!(
            group.append(&text(user(), "x")).await,
            Outcome::NotOpen,
            "without {key}"
        );
        let Prepared::Ready { top, remembers } = group.prepare().await else {
            panic!()
        };
        assert_eq!(
            (top, remembers),
            match key {
                "s" => (None, true),
                _ => (Some(group.pos(1)), false),
            }
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_not_opened_twice_under_one_epoch() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    for key in ["s", "h"] {
        let group = new_group(&process.stores.log).await;
        group.say(user(), "handed out").await;
        delete(&server, &[key], &group).await;
        assert_eq!(
            group.open(1, 0, Some(Vec::new())).await,
            Opened::No,
            "without {key}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_everything_goes_on_from_what_the_opener_knows() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let (li, mei) = (user(), user());
    for sender in [li, mei, li] {
        group.say(sender, "lost").await;
    }
    cmd("FLUSHALL")
        .exec_async(&mut server.raw().await)
        .await
        .unwrap();
    assert_eq!(group.append(&text(li, "late")).await, Outcome::NotOpen);
    let next = Group {
        epoch: 2,
        ..group.clone()
    };
    assert_eq!(
        next.prepare().await,
        Prepared::Ready {
            top: None,
            remembers: false
        }
    );
    assert_eq!(
        next.open(4, 3, None).await,
        Opened::No,
        "there is nothing to keep"
    );
    assert_eq!(
        next.open(4, 3, Some(vec![(li, 2), (mei, 1)])).await,
        Opened::Yes
    );
    assert_eq!(next.head_of(Some(mei)).await.1, Some(1));
    let mut request = next.request(&text(li, "4"));
    request.rights = Some(group.pos(3));
    let refused = next.log.append(request).await.unwrap();
    assert_eq!(
        refused,
        Outcome::RightsChanged(next.pos(3)),
        "old permits are asked for again"
    );
    let receipt = next.say(li, "4").await;
    assert_eq!((receipt.pos, receipt.count), (next.pos(4), 4));
    assert_eq!(next.entries().await[0].sender_count, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_memory_is_made_anew_from_the_entries_that_are_there() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let said = text(user(), "once");
    let dead = appended(group.append(&said).await).pos;
    let mut request = group.request(&said);
    request.replace = Some(dead);
    let newer = appended(group.log.append(request).await.unwrap()).pos;
    delete(&server, &["d:0", "d:1"], &group).await;
    let next = Group { epoch: 2, ..group };
    let own = vec![(said.sender, 2)];
    assert_eq!(next.open(3, 2, Some(own)).await, Opened::Yes);
    assert_eq!(
        repeated(next.append(&said).await).pos,
        newer,
        "the newest entry answers"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_another_history() {
    let (Some(old), Some(new)) = (RedisServer::start().await, RedisServer::start().await) else {
        return;
    };
    let process = old.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    new.follow(&old).await;
    let refused = new
        .try_process(&options())
        .await
        .err()
        .expect("a replica cannot be written to");
    assert!(refused.is_transient(), "{refused:?}");
    let mut raw = new.raw().await;
    cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .exec_async(&mut raw)
        .await
        .unwrap();

    let process = new.process().await;
    let log: Arc<dyn Log> = process.stores.log.clone();
    let group = Group { log, ..group };
    let next = under_next_epoch(&group).await;
    let refused = group.append(&text(user(), "late")).await;
    assert_eq!(refused, Outcome::OtherHistory(next.history.clone()));
    assert_eq!(next.open(2, 1, None).await, Opened::Yes);
    assert_eq!(next.say(user(), "2").await.pos, next.pos(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_appends_for_a_while_and_still_drains() {
    let Some(server) = RedisServer::start_with(SAFE).await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    let mut raw = server.raw().await;
    cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("1mb")
        .exec_async(&mut raw)
        .await
        .unwrap();
    let refused = group.log.append(group.request(&text(user(), "2"))).await;
    assert_eq!(refused.unwrap(), Outcome::Full);
    set_stored(&*group.log, group.id, group.pos(1)).await;
    cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(0)
        .exec_async(&mut raw)
        .await
        .unwrap();
    assert_eq!(group.say(user(), "2").await.stored, group.pos(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_demoted_and_promoted_again_is_another_history() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    group.say(user(), "1").await;
    let mut raw = server.raw().await;
    for master in [["127.0.0.1", "1"], ["NO", "ONE"]] {
        cmd("REPLICAOF")
            .arg(&master)
            .exec_async(&mut raw)
            .await
            .unwrap();
    }
    let next = under_next_epoch(&group).await;
    assert_ne!(next.history, group.history);
    // The functions believe for 100 ms what they knew.
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let refused = async {
        while append(&group, &text(user(), "late")).await
            != Outcome::OtherHistory(next.history.clone())
        {
            poll.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, refused)
        .await
        .expect("the old history still appends");
}
