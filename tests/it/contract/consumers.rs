//! What [`ConsumerLog`] promises, whatever keeps the logs.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::store::consumers::{Consumer, ConsumerLog, Delivery};
use qunliu::store::log::{Log, Opened};

use crate::support::logs::{DEADLINE, Group, new_group, user};

/// A log with its consumers, and what must live as long as they are used.
pub(crate) struct Subject {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) consumers: Arc<dyn ConsumerLog>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

/// Takes until `count` events of `group` came; what comes of other groups is acknowledged.
pub(crate) async fn take(
    consumers: &Arc<dyn ConsumerLog>,
    consumer: Consumer,
    group: GroupId,
    count: usize,
) -> Vec<Delivery> {
    let taking = async {
        let mut taken: Vec<Delivery> = Vec::new();
        while taken.len() < count {
            match consumers.take(consumer, 100).await {
                Ok(news) => taken.extend(news.into_iter().filter(|news| news.group == group)),
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
        taken
    };
    tokio::time::timeout(DEADLINE, taking)
        .await
        .expect("too few events came")
}

pub(crate) fn positions(taken: &[Delivery]) -> Vec<Position> {
    taken.iter().map(|delivery| delivery.pos).collect()
}

pub(crate) async fn ack(consumers: &Arc<dyn ConsumerLog>, consumer: Consumer, taken: &[Delivery]) {
    let done: Vec<_> = taken
        .iter()
        .map(|delivery| (delivery.group, delivery.pos))
        .collect();
    consumers.ack(consumer, &done).await.unwrap();
}

async fn say(group: &Group, count: usize) -> Vec<Position> {
    let mut said = Vec::new();
    for n in 0..count {
        said.push(group.say(user(), &n.to_string()).await.pos);
    }
    said
}

/// Takes for `span` and expects nothing of `group`.
async fn assert_nothing_comes(subject: &Subject, consumer: Consumer, group: GroupId) {
    let taken = tokio::time::timeout(
        Duration::from_millis(500),
        take(&subject.consumers, consumer, group, 1),
    );
    if let Ok(taken) = taken.await {
        panic!("{taken:?} came again");
    }
}

async fn every_consumer_gets_every_event_in_order(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = say(&group, 30).await;
    for consumer in Consumer::ALL {
        let taken = take(&subject.consumers, *consumer, group.id, 30).await;
        assert_eq!(positions(&taken), said, "{}", consumer.name());
        let entries: Vec<_> = taken.into_iter().map(|d| d.entry.unwrap()).collect();
        assert_eq!(entries, group.entries().await);
    }
}

async fn events_come_while_one_waits(subject: Subject) {
    let group = new_group(&subject.log).await;
    let waiting = take(&subject.consumers, Consumer::Persist, group.id, 20);
    let (taken, said) = tokio::join!(waiting, say(&group, 20));
    assert_eq!(positions(&taken), said);
}

async fn an_event_comes_at_once(subject: Subject) {
    let group = new_group(&subject.log).await;
    let rounds = async {
        for _ in 0..5 {
            let said = say(&group, 1).await;
            let taken = take(&subject.consumers, Consumer::Persist, group.id, 1).await;
            assert_eq!(positions(&taken), said);
        }
    };
    // Less than as many sweeps of 5 s, which would find everything too.
    let rounds = tokio::time::timeout(Duration::from_secs(20), rounds).await;
    rounds.expect("the consumer waited for its sweeps");
}

async fn a_take_keeps_to_its_bound(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = say(&group, 9).await;
    let mut taken = Vec::new();
    while taken.len() < 9 {
        let news = subject.consumers.take(Consumer::Persist, 4);
        let news = tokio::time::timeout(DEADLINE, news).await.unwrap().unwrap();
        assert!(news.len() <= 4, "{} came", news.len());
        taken.extend(news);
    }
    assert_eq!(positions(&taken), said);
}

async fn what_was_acknowledged_does_not_come_again(subject: Subject) {
    let group = new_group(&subject.log).await;
    say(&group, 3).await;
    let taken = take(&subject.consumers, Consumer::Persist, group.id, 3).await;
    ack(&subject.consumers, Consumer::Persist, &taken).await;
    subject.consumers.release(Consumer::Persist).await;
    assert_nothing_comes(&subject, Consumer::Persist, group.id).await;
}

async fn what_was_released_comes_again_and_first(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = say(&group, 4).await;
    let taken = take(&subject.consumers, Consumer::Persist, group.id, 4).await;
    ack(&subject.consumers, Consumer::Persist, &taken[..1]).await;
    let later = say(&group, 2).await;
    subject.consumers.release(Consumer::Persist).await;
    let again = take(&subject.consumers, Consumer::Persist, group.id, 5).await;
    let expected: Vec<_> = said[1..].iter().chain(&later).copied().collect();
    assert_eq!(positions(&again), expected);
}

async fn a_release_of_one_consumer_leaves_the_other_alone(subject: Subject) {
    let group = new_group(&subject.log).await;
    say(&group, 2).await;
    let taken = take(&subject.consumers, Consumer::Unread, group.id, 2).await;
    ack(&subject.consumers, Consumer::Unread, &taken).await;
    take(&subject.consumers, Consumer::Persist, group.id, 2).await;
    subject.consumers.release(Consumer::Persist).await;
    assert_nothing_comes(&subject, Consumer::Unread, group.id).await;
}

async fn what_an_interrupted_take_took_comes_again(subject: Subject) {
    let group = new_group(&subject.log).await;
    let mut seen = Vec::new();
    let mut said = Vec::new();
    for _ in 0..30 {
        said.extend(say(&group, 1).await);
        let mut taking = subject.consumers.take(Consumer::Persist, 10);
        if let std::task::Poll::Ready(news) = futures::poll!(&mut taking) {
            seen.extend(news.unwrap());
        }
    }
    let rest = take(
        &subject.consumers,
        Consumer::Persist,
        group.id,
        30 - seen.len(),
    )
    .await;
    seen.extend(rest);
    assert_eq!(positions(&seen), said);
}

async fn consumers_go_on_in_a_new_epoch(subject: Subject) {
    let group = new_group(&subject.log).await;
    say(&group, 2).await;
    let taken = take(&subject.consumers, Consumer::Persist, group.id, 2).await;
    ack(&subject.consumers, Consumer::Persist, &taken).await;
    let next = Group { epoch: 2, ..group };
    assert_eq!(next.open(3, 2, None).await, Opened::Yes);
    let said = say(&next, 2).await;
    let taken = take(&subject.consumers, Consumer::Persist, next.id, 2).await;
    assert_eq!(positions(&taken), said);
}

contract!({
    embedded: crate::support::embedded::consumers_subject,
    redis: crate::support::redis::consumers_subject,
    redis_cluster: crate::support::cluster::consumers_subject,
}, [
    every_consumer_gets_every_event_in_order,
    events_come_while_one_waits,
    an_event_comes_at_once,
    a_take_keeps_to_its_bound,
    what_was_acknowledged_does_not_come_again,
    what_was_released_comes_again_and_first,
    a_release_of_one_consumer_leaves_the_other_alone,
    what_an_interrupted_take_took_comes_again,
    consumers_go_on_in_a_new_epoch,
]);
