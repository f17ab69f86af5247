//! What [`Presence`] promises, whatever keeps it.

use std::any::Any;
use std::sync::Arc;

use qunliu::model::hint::{Hint, HintKind};
use qunliu::model::id::{GroupId, UserId};
use qunliu::store::presence::Presence;

use crate::support::logs::{AT, DEADLINE, user};

/// Every process that shares one presence, and what must live as long as it is used.
pub(crate) struct Subject {
    pub(crate) processes: Vec<Arc<dyn Presence>>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

/// As a set would be compared.
pub(crate) fn sorted(mut users: Vec<UserId>) -> Vec<UserId> {
    users.sort();
    users
}

async fn the_first_arrival_and_the_last_departure_are_named(subject: Subject) {
    let (li, han) = (user(), user());
    let (first, others) = subject.processes.split_first().unwrap();
    assert_eq!(
        sorted(first.arrive(&[li, han]).await.unwrap()),
        sorted(vec![li, han])
    );
    for other in others {
        assert_eq!(other.arrive(&[li]).await.unwrap(), []);
    }
    if !others.is_empty() {
        assert_eq!(first.depart(&[li]).await.unwrap(), []);
    }
    for presence in &subject.processes {
        let online = presence.online(&[li, user(), han]).await.unwrap();
        assert_eq!(online, [li, han], "in the order asked");
    }
    let last = subject.processes.last().unwrap();
    assert_eq!(last.depart(&[li]).await.unwrap(), [li]);
    assert_eq!(first.online(&[li, han]).await.unwrap(), [han]);
}

async fn saying_it_again_changes_nothing(subject: Subject) {
    let (li, stranger) = (user(), user());
    let presence = &subject.processes[0];
    assert_eq!(presence.arrive(&[li]).await.unwrap(), [li]);
    assert_eq!(presence.arrive(&[li]).await.unwrap(), []);
    assert!(presence.beat().await.unwrap());
    assert_eq!(presence.depart(&[li, stranger]).await.unwrap(), [li]);
    assert_eq!(presence.depart(&[li]).await.unwrap(), []);
    assert_eq!(presence.online(&[li]).await.unwrap(), []);
}

async fn nothing_asked_is_nothing_answered(subject: Subject) {
    let presence = &subject.processes[0];
    assert_eq!(presence.arrive(&[]).await.unwrap(), []);
    assert_eq!(presence.depart(&[]).await.unwrap(), []);
    assert_eq!(presence.online(&[]).await.unwrap(), []);
    assert_eq!(presence.bury().await.unwrap(), []);
}

async fn as_many_as_one_call_may_name_come_and_go(subject: Subject) {
    let many: Vec<UserId> = (0..500).map(|_| user()).collect();
    let presence = &subject.processes[0];
    let all = sorted(many.clone());
    assert_eq!(sorted(presence.arrive(&many).await.unwrap()), all);
    assert_eq!(sorted(presence.online(&many).await.unwrap()), all);
    assert_eq!(sorted(presence.depart(&many).await.unwrap()), all);
}

async fn every_listener_hears_every_hint_in_order(subject: Subject) {
    let mut listeners: Vec<_> = subject.processes.iter().map(|p| p.hints()).collect();
    let kinds = [HintKind::Typing, HintKind::Online, HintKind::Offline];
    let told: Vec<Hint> = kinds
        .into_iter()
        .map(|kind| Hint {
            kind,
            user: user(),
            groups: vec![GroupId::generate(AT), GroupId::generate(AT)],
        })
        .collect();
    let presence = subject.processes.last().unwrap();
    presence.tell(&told[..2]).await.unwrap();
    presence.tell(&told[2..]).await.unwrap();
    for listener in &mut listeners {
        for hint in &told {
            let heard = tokio::time::timeout(DEADLINE, listener.recv()).await;
            assert_eq!(heard.expect("no hint came").unwrap(), *hint);
        }
    }
}

contract!({
    embedded: crate::support::embedded::presence_subject,
    redis: crate::support::redis::presence_subject,
}, [
    the_first_arrival_and_the_last_departure_are_named,
    saying_it_again_changes_nothing,
    nothing_asked_is_nothing_answered,
    as_many_as_one_call_may_name_come_and_go,
    every_listener_hears_every_hint_in_order,
]);
