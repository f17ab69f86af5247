//! What persisting may say `stored` of: only what is stored without a hole, under a fence that
//! stands, and by the table as it is then (epochs.md rule 5). The log is a Redis, which knows of the
//! watermark only what it is told.

use std::sync::Arc;

use qunliu::clock::ManualClock;
use qunliu::model::epoch::Row;
use qunliu::model::event::{Entry, Kind};
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::pipeline::consumers::Handler as _;
use qunliu::pipeline::consumers::persist::{Persist, Stores};
use qunliu::pipeline::fences::Fences;
use qunliu::pipeline::replay::{Replay, Replayed};
use qunliu::store::Result;
use qunliu::store::consumers::{Consumer, Delivery, Unreadable};
use qunliu::store::dead_letters::LetterId;
use qunliu::store::embedded::cards::NoCards;
use qunliu::store::epochs::Fence;
use qunliu::store::signals::Signal;
use tokio::sync::broadcast::Receiver;

use super::Node;
use crate::support::logs::{AT, text, user};
use crate::support::redis::{Process, RedisServer};
use crate::support::sample::{at, group};

/// A node and its persister, which the test hands events of one group.
struct Persisting {
    node: Node,
    persist: Persist,
    signals: Receiver<Signal>,
    group: GroupId,
    _redis: (Process, RedisServer),
}

impl Persisting {
    /// With `[1,1]` to `[1,3]` in the log.
    async fn new() -> Option<Self> {
        let (node, redis) = Node::on_redis().await?;
        let persisting = Self {
            persist: Self::persist(&node),
            signals: node.stores.signals.listen(),
            group: group(),
            node,
            _redis: redis,
        };
        for _ in 1..=3 {
            let (node, group) = (&persisting.node, persisting.group);
            node.append(group, text(user(), "在吗")).await;
        }
        Some(persisting)
    }

    /// As [`Self::new`], of which the first is stored and was said to be.
    async fn with_one_stored() -> Option<Self> {
        let mut persisting = Self::new().await?;
        persisting.handle(at(1, 1)).await;
        assert_eq!(persisting.said(), [at(1, 1)]);
        Some(persisting)
    }

    /// A persister that remembers nothing yet.
    fn persist(node: &Node) -> Persist {
        let stores = Stores {
            log: node.log.clone(),
            messages: node.stores.messages.clone(),
            dead_letters: node.stores.dead_letters.clone(),
            epochs: node.epochs.clone(),
            signals: node.stores.signals.clone(),
            history: node.history.clone(),
            fences: node.fences.clone(),
            reopener: node.reopener.clone(),
        };
        let clock = Arc::new(ManualClock::at(AT));
        Persist::new(stores, clock, node.metrics.clone(), node.traces.clone())
    }

    /// The event at a position of the log.
    async fn entry(&self, pos: Position) -> Entry {
        let (group, log) = (self.group, &self.node.log.log);
        let after = Position::new(pos.epoch, pos.seq - 1);
        let mut entries = log.range(group, after, Some(pos), 1).await.unwrap();
        entries.pop().unwrap()
    }

    async fn try_handle(&self, pos: Position) -> Result<()> {
        let entry = self.entry(pos).await;
        self.persist.handle(&[delivery(self.group, entry)]).await
    }

    async fn handle(&self, pos: Position) {
        self.try_handle(pos).await.unwrap();
    }

    /// What was said since the last call.
    fn said(&mut self) -> Vec<Position> {
        let mut said = Vec::new();
        while let Ok(signal) = self.signals.try_recv() {
            if let Signal::Stored(group, pos) = signal {
                assert_eq!(group, self.group);
                said.push(pos);
            }
        }
        said
    }

    async fn watermark(&self) -> Position {
        let heads = self.node.log.log.heads(&[self.group], None).await.unwrap();
        heads[0].unwrap().0.stored
    }

    /// Another node raises the fence.
    async fn raise_elsewhere(&self) -> Fence {
        let partition = self.group.partition();
        let seen = self.node.fences.get(partition).await.unwrap();
        let next = Fence {
            epoch: seen.epoch + 1,
            ..seen.clone()
        };
        let epochs = &self.node.stores.epochs;
        epochs.raise(partition, Some(&seen), &next).await.unwrap()
    }
}

const fn delivery(group: GroupId, entry: Entry) -> Delivery {
    Delivery {
        group,
        pos: entry.pos,
        entry: Ok(entry),
        trace: None,
    }
}

#[tokio::test]
async fn groups_that_are_met_first_in_one_batch_each_begin_where_they_stand() {
    let Some(mut persisting) = Persisting::new().await else {
        return;
    };
    let (one, other) = (persisting.group, group());
    for _ in 1..=2 {
        persisting.node.append(other, text(user(), "在吗")).await;
    }
    // What another node had stored of the first one.
    persisting.handle(at(1, 1)).await;
    persisting.said();
    let node = &persisting.node;
    let forgetful = Persisting::persist(node);
    let second = persisting.entry(at(1, 2)).await;
    let news = node.log.log.range(other, Position::START, None, 2).await;
    let news = news
        .unwrap()
        .into_iter()
        .map(|entry| delivery(other, entry));
    let batch: Vec<_> = [delivery(one, second)].into_iter().chain(news).collect();
    forgetful.handle(&batch).await.unwrap();
    let heads = node.log.log.heads(&[one, other], None).await.unwrap();
    let stored: Vec<_> = heads.iter().map(|head| head.unwrap().0.stored).collect();
    assert_eq!(stored, [at(1, 2), at(1, 2)]);
}

#[tokio::test]
async fn the_watermark_stops_before_a_hole_until_it_is_filled() {
    let Some(mut persisting) = Persisting::new().await else {
        return;
    };
    persisting.handle(at(1, 1)).await;
    assert_eq!(persisting.said(), [at(1, 1)]);
    persisting.handle(at(1, 3)).await;
    assert_eq!(persisting.watermark().await, at(1, 1));
    assert!(persisting.said().iter().all(|pos| *pos == at(1, 1)));
    // What was not handled comes again, in order.
    persisting.handle(at(1, 2)).await;
    persisting.handle(at(1, 3)).await;
    assert_eq!(persisting.said(), [at(1, 2), at(1, 3)]);
    assert_eq!(persisting.watermark().await, at(1, 3));
}

#[tokio::test]
async fn under_a_fence_that_fell_nothing_is_said_before_the_group_is_open_again() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    // Whoever raised it may have looked for the end of what is stored before `[1,2]` was there.
    let fence = persisting.raise_elsewhere().await;
    persisting.handle(at(1, 2)).await;
    assert_eq!(persisting.said(), []);
    let table = persisting.node.history.table(persisting.group).await;
    assert_eq!(table.unwrap().epoch(), fence.epoch, "it is open again");
    persisting.handle(at(1, 3)).await;
    assert_eq!(persisting.said(), [at(1, 3)]);
}

#[tokio::test]
async fn an_event_that_came_too_late_for_its_epoch_is_never_called_stored() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    // Another node opened the group above what it found stored: `[1,1]`.
    let fence = persisting.raise_elsewhere().await;
    let (node, group) = (&persisting.node, persisting.group);
    let last = node.history.table(group).await.unwrap().last();
    let row = Row::from((fence.epoch, 2, 1));
    assert!(node.stores.epochs.add_row(group, last, row).await.unwrap());
    persisting.handle(at(1, 2)).await;
    assert_eq!(persisting.said(), []);
    assert_eq!(persisting.watermark().await, at(1, 1));
}

#[tokio::test]
async fn a_confirmation_that_another_node_overtook_is_made_again() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    let (node, partition) = (&persisting.node, persisting.group.partition());
    let other = Fences::new(node.epochs.clone(), node.log.clone(), node.metrics.clone());
    let door = &node.log.stored;
    door.shut();
    let overtaking = async {
        door.reached_by(door.callers() + 1).await;
        for _ in 0..3 {
            assert!(other.confirm_and_tell(partition).await.unwrap());
        }
        door.open();
    };
    let (handled, ()) = tokio::join!(persisting.try_handle(at(1, 2)), overtaking);
    handled.unwrap();
    // And the other way round.
    assert!(other.confirm_and_tell(partition).await.unwrap());
    assert_eq!(persisting.said(), [at(1, 2)]);
    assert_eq!(persisting.watermark().await, at(1, 2));
}

#[tokio::test]
async fn nothing_is_called_stored_while_the_message_store_is_suspect() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    let (partition, log) = (persisting.group.partition(), &persisting.node.log.log);
    // Another node found it older; this one knows nothing of it yet.
    log.suspect(partition).await.unwrap();
    let refused = persisting.try_handle(at(1, 2)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    assert_eq!(persisting.said(), []);
    assert_eq!(persisting.watermark().await, at(1, 1));
}

#[tokio::test]
async fn another_event_at_a_position_is_an_error_and_is_never_called_stored() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    let other = Entry {
        pos: at(1, 2),
        ..persisting.entry(at(1, 3)).await
    };
    let messages = &persisting.node.stores.messages;
    messages.insert(&[(persisting.group, other)]).await.unwrap();
    let error = persisting.try_handle(at(1, 2)).await.unwrap_err();
    assert!(
        !error.is_transient(),
        "to try again would not help: {error:?}"
    );
    assert_eq!(persisting.said(), []);
}

#[tokio::test]
async fn what_was_buried_and_became_readable_takes_the_place_of_its_placeholder() {
    let Some(mut persisting) = Persisting::with_one_stored().await else {
        return;
    };
    let (entry, group) = (persisting.entry(at(1, 2)).await, persisting.group);
    let mut payload = Vec::new();
    entry.write_json(&mut payload);
    let unreadable = Unreadable {
        reason: "a kind of a newer version".to_owned(),
        payload,
    };
    let letter = Delivery {
        group,
        pos: at(1, 2),
        entry: Err(unreadable),
        trace: None,
    };
    persisting.persist.bury(&letter, "unknown").await.unwrap();
    assert_eq!(persisting.said(), [at(1, 2)], "the watermark passes it");
    let stores = &persisting.node.stores;
    let stored = async || {
        let range = stores.messages.range(group, at(1, 1), None, 9).await;
        range.unwrap().remove(0)
    };
    assert_eq!(stored().await.kind, Kind::Lost);
    let replay = Replay {
        dead_letters: stores.dead_letters.clone(),
        messages: stores.messages.clone(),
        epochs: stores.epochs.clone(),
        unread: stores.unread.clone(),
        cards: Arc::new(NoCards),
    };
    let id = LetterId {
        consumer: Consumer::Persist,
        group,
        pos: at(1, 2),
    };
    assert_eq!(replay.replay(id).await.unwrap(), Replayed::Handled);
    assert_eq!(stored().await, entry);
    assert_eq!(replay.replay(id).await.unwrap(), Replayed::NoLetter);
}
