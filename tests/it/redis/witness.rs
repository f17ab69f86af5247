//! What Redis remembers of the message store, and that nothing leaves a stream while the message
//! store is suspect (epochs.md rule 11).

use qunliu::model::id::Partition;
use qunliu::store::consumers::Consumer;
use qunliu::store::log::Stored;
use qunliu::store::witness::Told;

use super::trimming::{handle, hasty, length, say_many, store};
use crate::support::eventually;
use crate::support::logs::{DEADLINE, Group, new_group, user};
use crate::support::redis::RedisServer;

const P: Partition = Partition(0xa0);

#[tokio::test]
async fn the_highest_number_and_epoch_are_remembered() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = server.process().await.stores.log;
    let other = Partition(0xa1);
    let told = async || log.told(&[P, other]).await.unwrap();
    assert_eq!(told().await, [Some(Told::default()); 2]);
    assert!(log.tell(&[(P, 7), (other, 1)]).await.unwrap());
    assert!(log.tell(&[(P, 7)]).await.unwrap(), "told again");
    assert!(!log.tell(&[(P, 6)]).await.unwrap(), "it went back");
    let batches: Vec<_> = told()
        .await
        .iter()
        .map(|told| told.unwrap().batch)
        .collect();
    assert_eq!(batches, [7, 1]);
    let group = new_group(&log).await;
    let of_group = log.told(&[group.id.partition()]).await.unwrap();
    assert_eq!(of_group[0].unwrap().epoch, 1);
}

#[tokio::test]
async fn a_watermark_moves_with_its_number_or_not_at_all() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let group = new_group(&process.stores.log).await;
    let (log, partition) = (&group.log, group.id.partition());
    for words in ["1", "2", "3"] {
        group.say(user(), words).await;
    }
    for (seq, confirmed, stands, told) in [(1, 7, 1, 7), (2, 6, 1, 7), (2, 8, 2, 8), (1, 8, 2, 8)] {
        let mark = Stored {
            group: group.id,
            pos: group.pos(seq),
            confirmed,
        };
        let refused = log.set_stored(&[mark]).await.unwrap();
        let expected = if confirmed < told {
            vec![partition]
        } else {
            vec![]
        };
        assert_eq!(refused, expected, "{mark:?}");
        assert_eq!(group.head().await.stored, group.pos(stands), "{mark:?}");
        let knows = log.told(&[partition]).await.unwrap()[0].unwrap();
        assert_eq!(knows.batch, told, "{mark:?}");
    }
    log.suspect(partition).await.unwrap();
    let mark = Stored {
        group: group.id,
        pos: group.pos(3),
        confirmed: 9,
    };
    assert_eq!(log.set_stored(&[mark]).await.unwrap(), [partition]);
    assert_eq!(group.head().await.stored, group.pos(2));
}

#[tokio::test]
async fn a_suspect_partition_takes_no_number_until_it_is_settled() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = server.process().await.stores.log;
    assert!(log.tell(&[(P, 7)]).await.unwrap());
    log.suspect(P).await.unwrap();
    assert!(!log.tell(&[(P, 8)]).await.unwrap());
    let told = log.told(&[P]).await.unwrap()[0].unwrap();
    assert_eq!((told.batch, told.suspect), (7, Some(0)));
    log.settle(P, 9).await.unwrap();
    let told = log.told(&[P]).await.unwrap()[0].unwrap();
    assert_eq!((told.batch, told.suspect), (9, None));
    assert!(log.tell(&[(P, 10)]).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_a_stream_while_the_message_store_is_suspect() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let log = &process.stores.log;
    let group = new_group(log).await;
    let partition = group.id.partition();
    let last = say_many(&group, 700, "在吗").await;
    store(&group, last).await;
    log.suspect(partition).await.unwrap();
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 700).await;
    }
    assert_eq!(length(&server, &group).await, 700);
    log.settle(partition, 1).await.unwrap();
    let last = say_many(&group, 1, "在吗").await;
    store(&group, last).await;
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 1).await;
    }
    assert!(length(&server, &group).await < 700, "now it is trimmed");
}

/// Whether an idle group was looked at: it is emptied, or put off by more than a moment.
async fn was_looked_at(server: &RedisServer, group: &Group) -> bool {
    let mut score = redis::cmd("ZSCORE");
    score.arg(format!("i{{{}}}", group.id.partition()));
    score.arg(group.id.to_string());
    let mut raw = server.raw().await;
    let next: Option<f64> = score.query_async(&mut raw).await.unwrap();
    let now: (f64, f64) = redis::cmd("TIME").query_async(&mut raw).await.unwrap();
    next.is_none_or(|next| next > (now.0 + 5.0) * 1000.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_stream_is_not_emptied_while_the_message_store_is_suspect() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = hasty(&server).await;
    let log = &process.stores.log;
    let group = new_group(log).await;
    let last = say_many(&group, 3, "在吗").await;
    store(&group, last).await;
    log.suspect(group.id.partition()).await.unwrap();
    for consumer in Consumer::ALL {
        handle(&process, &group, *consumer, 3).await;
    }
    eventually(DEADLINE, async || was_looked_at(&server, &group).await).await;
    assert_eq!(length(&server, &group).await, 3);
}

#[tokio::test]
async fn every_group_of_a_partition_is_found() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = server.process().await.stores.log;
    let (one, other) = (new_group(&log).await, new_group(&log).await);
    let all: Vec<_> = (0..=u8::MAX).map(Partition).collect();
    let mut expected = [one.id, other.id];
    expected.sort_unstable();
    assert_eq!(log.groups(&all).await.unwrap(), expected);
    let of_one = log.groups(&[one.id.partition()]).await.unwrap();
    assert!(of_one.contains(&one.id));
    let elsewhere = all
        .iter()
        .copied()
        .filter(|p| !expected.iter().any(|g| g.partition() == *p));
    let elsewhere: Vec<_> = elsewhere.collect();
    assert_eq!(log.groups(&elsewhere).await.unwrap(), []);
}
