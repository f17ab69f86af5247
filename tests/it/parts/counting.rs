//! Totals are right whatever happens between the questions they are made of: a read mark is kept,
//! and with it whatever was wrong when it was made.

use std::sync::Arc;

use qunliu::model::id::{GroupId, UserId};
use qunliu::model::position::Position;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::store::counts::{Counts, Marked};
use qunliu::store::history::History;
use qunliu::store::messages::Messages;
use redis::aio::MultiplexedConnection;

use super::Node;
use crate::support::door::{Door, MessagesBehindDoor};
use crate::support::logs::{text, user};
use crate::support::redis::{Process, RedisServer};
use crate::support::sample::{at, group};

/// A group on a Redis, of whose events nothing is stored.
struct Talk {
    node: Node,
    group: GroupId,
    member: UserId,
    other: UserId,
    redis: (Process, RedisServer),
}

impl Talk {
    async fn new() -> Option<Self> {
        let (node, redis) = Node::on_redis().await?;
        Some(Self {
            node,
            group: group(),
            member: user(),
            other: user(),
            redis,
        })
    }

    /// Appends messages; those that are own are the member's.
    async fn say(&self, own: &[bool]) {
        for is_own in own {
            let sender = if *is_own { self.member } else { self.other };
            self.node.append(self.group, text(sender, "在吗")).await;
        }
    }

    fn counts(&self, messages: Arc<dyn Messages>) -> Counts {
        let (log, stores) = (self.node.log.clone(), &self.node.stores);
        let history = History::new(log.clone(), messages.clone(), stores.epochs.clone());
        Counts::new(log, messages, stores.unread.clone(), history)
    }

    async fn raw(&self) -> MultiplexedConnection {
        self.redis.1.raw().await
    }

    /// All that Redis has of the group.
    async fn keep(&self) -> Vec<(String, Vec<u8>)> {
        let mut raw = self.raw().await;
        let mut names = redis::cmd("KEYS");
        let names = names.arg(format!("*{}*", self.group)).query_async(&mut raw);
        let names: Vec<String> = names.await.unwrap();
        let mut kept = Vec::new();
        for name in names {
            let dump = redis::cmd("DUMP").arg(&name).query_async(&mut raw).await;
            kept.push((name, dump.unwrap()));
        }
        kept
    }

    async fn put_back(&self, kept: Vec<(String, Vec<u8>)>) {
        let mut raw = self.raw().await;
        for (name, dump) in kept {
            let mut restore = redis::cmd("RESTORE");
            let restore = restore.arg(name).arg(0).arg(dump).arg("REPLACE");
            restore.exec_async(&mut raw).await.unwrap();
        }
    }
}

const fn mark(pos: Position, count: u64, own: u64) -> Marked {
    Marked::At(ReadMark {
        pos,
        totals: Totals { count, own },
    })
}

#[tokio::test]
async fn own_messages_that_are_stored_while_a_mark_is_made_are_not_counted_as_read() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    talk.say(&[false, true, false]).await;
    talk.node.raise(talk.group).await;
    talk.say(&[true, true]).await;
    let messages = Arc::new(MessagesBehindDoor {
        messages: talk.node.stores.messages.clone(),
        sent: Door::default(),
    });
    let counts = talk.counts(messages.clone());
    messages.sent.shut();
    let storing = async {
        messages.sent.reached_by(1).await;
        let last = talk.node.store_all(talk.group).await;
        let log = &talk.node.log.log;
        log.set_stored(&[(talk.group, last)]).await.unwrap();
        messages.sent.open();
    };
    let marking = counts.mark_at(talk.member, talk.group, at(1, 3));
    let (made, ()) = tokio::join!(marking, storing);
    assert_eq!(made.unwrap(), mark(at(1, 3), 3, 1));
}

#[tokio::test]
async fn own_messages_that_a_log_loses_while_a_mark_is_made_are_not_counted_as_read() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    talk.say(&[false, true, false, true, true]).await;
    let counts = talk.counts(talk.node.stores.messages.clone());
    let heads = &talk.node.log.heads;
    heads.shut();
    let losing = async {
        heads.reached_by(heads.callers() + 1).await;
        let stream = format!("s{{{}}}:{}", talk.group.partition(), talk.group);
        let mut gone = redis::cmd("XDEL");
        let gone = gone.arg(&stream).arg("1-4").arg("1-5");
        gone.exec_async(&mut talk.raw().await).await.unwrap();
        heads.open();
    };
    let marking = counts.mark_at(talk.member, talk.group, at(1, 3));
    let (made, ()) = tokio::join!(marking, losing);
    assert_eq!(made.unwrap(), Marked::LogWentBack);
}

#[tokio::test]
async fn a_mark_above_the_end_of_a_log_that_came_back_with_less_opens_it_first() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    talk.say(&[false, true]).await;
    let older = talk.keep().await;
    talk.say(&[true, false]).await;
    talk.node.store_all(talk.group).await;
    talk.put_back(older).await;
    let counts = talk.counts(talk.node.stores.messages.clone());
    let made = counts.mark_at(talk.member, talk.group, at(1, 4)).await;
    assert_eq!(made.unwrap(), Marked::LogWentBack, "two own ones, not one");
    talk.node.raise(talk.group).await;
    talk.node.reopener.look_after(talk.group).await.unwrap();
    let made = counts.mark_at(talk.member, talk.group, at(1, 4)).await;
    assert_eq!(made.unwrap(), mark(at(1, 4), 4, 2));
}
