//! Totals are right whatever happens between the questions they are made of: a read mark is kept,
//! and with it whatever was wrong when it was made.

use std::sync::Arc;

use qunliu::clock::ManualClock;
use qunliu::model::client_id::ClientId;
use qunliu::model::epoch::Row;
use qunliu::model::event::{Content, Entry, Kind};
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::position::Position;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::pipeline::consumers::Handler as _;
use qunliu::pipeline::consumers::unread::UnreadMarks;
use qunliu::store::consumers::Delivery;
use qunliu::store::counts::{Counts, Marked};
use qunliu::store::embedded::cards::NoCards;
use qunliu::store::history::History;
use qunliu::store::messages::Messages;
use qunliu::store::sent::Sent;
use redis::aio::MultiplexedConnection;

use super::Node;
use crate::support::door::{Door, MessagesBehindDoor};
use crate::support::logs::{AT, joined, set_stored, text, user};
use crate::support::redis::{Process, RedisServer, key};
use crate::support::sample::{at, entry, group};

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
        set_stored(&**log, talk.group, last).await;
        messages.sent.open();
    };
    let marking = counts.mark_at(talk.member, talk.group, at(1, 3));
    let (made, ()) = tokio::join!(marking, storing);
    assert_eq!(made.unwrap(), mark(at(1, 3), 3, 1));
}

/// What was sent is the same wherever it is: in the log alone, partly stored, stored and trimmed, in
/// a log that is gone.
#[tokio::test]
async fn what_somebody_sent_up_to_a_position_is_known_however_much_is_stored() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    talk.say(&[false, true, true, false]).await;
    talk.node.raise(talk.group).await;
    talk.say(&[true, false, true]).await;
    let counts = talk.counts(talk.node.stores.messages.clone());
    let expect = async |when: &str| {
        let place = |seq| at(if seq > 4 { 2 } else { 1 }, seq);
        for (seq, own) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4)] {
            let known = counts.own_at(talk.member, talk.group, place(seq)).await;
            assert_eq!(known.unwrap(), own, "up to {seq}, {when}");
            let known = counts.own_at(user(), talk.group, place(seq)).await;
            assert_eq!(known.unwrap(), 0, "of one who never sent, {when}");
        }
    };
    expect("before anything is stored").await;
    let log = &talk.node.log.log;
    let all = log.range(talk.group, Position::START, None, 99).await;
    let all = all.unwrap().into_iter().map(|entry| (talk.group, entry));
    let all: Vec<_> = all.collect();
    let messages = &talk.node.stores.messages;
    for upto in [3, 5, 7] {
        messages.insert(&all[..upto]).await.unwrap();
        let stored = all[upto - 1].1.pos;
        set_stored(&**log, talk.group, stored).await;
        expect("partly stored").await;
    }
    let mut raw = talk.raw().await;
    let stream = key('s', talk.group);
    let mut trim = redis::cmd("XTRIM");
    trim.arg(stream).arg("MAXLEN").arg(1);
    trim.exec_async(&mut raw).await.unwrap();
    expect("trimmed").await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    expect("in a log that is gone").await;
}

#[tokio::test]
async fn dead_messages_are_not_among_what_somebody_sent() {
    let node = Node::new().await;
    let (group, member) = (group(), user());
    let say = |pos, own| {
        let entry = Entry {
            sender_count: own,
            ..entry(pos, member, ClientId::random(), Content::Lost {})
        };
        (
            group,
            Entry {
                kind: Kind::Message,
                ..entry
            },
        )
    };
    // Two that stayed, twenty that died, one of the next epoch.
    let mut sent: Vec<_> = (1..=22).map(|seq| say(at(1, seq), seq)).collect();
    sent.push(say(at(2, 3), 3));
    node.stores.messages.insert(&sent).await.unwrap();
    let rows = [(1, 1, 0), (2, 3, 2)].map(Row::from);
    let table = &rows.into_iter().collect();
    let sent = Sent {
        messages: &*node.stores.messages,
        group,
        table,
        sender: member,
    };
    for (upto, own) in [(at(1, 1), 1), (at(1, 22), 2), (at(2, 2), 2), (at(2, 3), 3)] {
        assert_eq!(sent.total(upto).await.unwrap(), own, "up to {upto}");
    }
    for (after, first) in [
        (Position::START, Some(1)),
        (at(1, 1), Some(2)),
        (at(1, 2), Some(3)),
        (at(2, 3), None),
    ] {
        let found = sent.first_above(after, at(9, 9)).await.unwrap();
        assert_eq!(found, first, "above {after}");
    }
}

#[tokio::test]
async fn who_joins_again_begins_with_what_was_sent_before() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    let (node, member) = (&talk.node, talk.member);
    talk.say(&[true, false, true]).await;
    node.append(talk.group, joined(member)).await;
    talk.say(&[true, false]).await;
    let consumer = UnreadMarks::new(
        node.stores.unread.clone(),
        node.stores.dead_letters.clone(),
        Arc::new(NoCards),
        talk.counts(node.stores.messages.clone()),
        Arc::new(ManualClock::at(AT)),
    );
    let entries = node.log.log.range(talk.group, Position::START, None, 9);
    let delivery = |entry: Entry| Delivery {
        group: talk.group,
        pos: entry.pos,
        entry: Ok(entry),
        trace: None,
    };
    let batch: Vec<_> = entries.await.unwrap().into_iter().map(delivery).collect();
    // It may come again.
    for _ in 0..2 {
        consumer.handle(&batch).await.unwrap();
        let unread = &node.stores.unread;
        let marks = unread.marks(member, &[talk.group]).await.unwrap();
        assert_eq!(Marked::At(marks[0].unwrap()), mark(at(1, 4), 3, 2));
        talk.say(&[true]).await;
        let counts = talk.counts(node.stores.messages.clone());
        let own = counts.own_at(member, talk.group, at(1, 4)).await.unwrap();
        assert_eq!(own, 2, "what was sent since is above it");
    }
}

/// Counts need no log: what is stored tells the same.
#[tokio::test]
async fn unread_is_the_same_in_a_log_that_is_gone() {
    let Some(talk) = Talk::new().await else {
        return;
    };
    talk.say(&[false, true, false, true, false]).await;
    talk.node.store_all(talk.group).await;
    let counts = talk.counts(talk.node.stores.messages.clone());
    let Marked::At(read) = counts
        .mark_at(talk.member, talk.group, at(1, 2))
        .await
        .unwrap()
    else {
        panic!("it is there");
    };
    let unread = &talk.node.stores.unread;
    unread
        .mark_read(talk.member, talk.group, read)
        .await
        .unwrap();
    let count = async || counts.of(talk.member, &[talk.group]).await.unwrap()[0].unread;
    assert_eq!(count().await, 2);
    let mut raw = talk.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    assert_eq!(count().await, 2);
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
        let stream = key('s', talk.group);
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
