//! What [`Signals`] promises, whatever carries them.

use std::any::Any;
use std::sync::Arc;

use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::store::signals::{Signal, Signals};
use tokio::sync::broadcast::Receiver;

use crate::support::logs::{AT, DEADLINE, user};

/// Signals, and what must live as long as they are used.
pub(crate) struct Subject {
    pub(crate) signals: Arc<dyn Signals>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

/// One signal of each kind.
pub(crate) fn one_of_each() -> Vec<Signal> {
    let (group, pos) = (GroupId::generate(AT), Position::new(3, 1851));
    vec![
        Signal::Stored(group, pos),
        Signal::Read {
            user: user(),
            group,
            pos,
        },
        Signal::Joined(user(), group, pos),
    ]
}

pub(crate) async fn next(listener: &mut Receiver<Signal>) -> Signal {
    let next = tokio::time::timeout(DEADLINE, listener.recv());
    next.await.expect("no signal came").unwrap()
}

async fn every_listener_hears_every_signal(subject: Subject) {
    let mut listeners = [subject.signals.listen(), subject.signals.listen()];
    let told = one_of_each();
    subject.signals.publish(&told).await.unwrap();
    for listener in &mut listeners {
        let mut heard = Vec::new();
        for _ in &told {
            heard.push(next(listener).await);
        }
        assert!(
            told.iter().all(|signal| heard.contains(signal)),
            "{heard:?}"
        );
    }
}

async fn signals_of_one_group_keep_their_order(subject: Subject) {
    let mut listener = subject.signals.listen();
    let group = GroupId::generate(AT);
    let told: Vec<_> = (1..=20)
        .map(|s| Signal::Stored(group, Position::new(1, s)))
        .collect();
    for signals in told.chunks(3) {
        subject.signals.publish(signals).await.unwrap();
    }
    for signal in told {
        assert_eq!(next(&mut listener).await, signal);
    }
}

async fn a_listener_hears_nothing_of_before(subject: Subject) {
    let mut early = subject.signals.listen();
    let told = one_of_each();
    subject.signals.publish(&told[..1]).await.unwrap();
    assert_eq!(next(&mut early).await, told[0]);
    let mut late = subject.signals.listen();
    subject.signals.publish(&told[1..2]).await.unwrap();
    assert_eq!(next(&mut late).await, told[1]);
}

contract!({
    embedded: crate::support::embedded::signals_subject,
    redis: crate::support::redis::signals_subject,
    redis_cluster: crate::support::cluster::signals_subject,
}, [
    every_listener_hears_every_signal,
    signals_of_one_group_keep_their_order,
    a_listener_hears_nothing_of_before,
]);
