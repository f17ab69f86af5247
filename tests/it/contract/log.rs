//! What [`Log`] and its tail promise, whatever keeps the log.

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::store::log::{Log, OnMiss, Opened, Outcome, Prepared};

use crate::support::logs::{
    AT, Group, appended, appointed, new_group, repeated, seqs, set_stored, tail_entries, tailed,
    text, user,
};

/// A log, and what must live as long as it is used.
pub(crate) struct Subject {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

async fn positions_are_dense_from_one(subject: Subject) {
    let group = new_group(&subject.log).await;
    let sender = user();
    for seq in 1..=5 {
        let receipt = group.say(sender, "hello").await;
        assert_eq!((receipt.pos, receipt.count), (group.pos(seq), seq));
    }
    assert_eq!(seqs(&group.entries().await), [1, 2, 3, 4, 5]);
}

async fn concurrent_appends_take_every_seq_once(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = join_all((0..50).map(|n| {
        let group = group.clone();
        async move { group.say(user(), &n.to_string()).await.pos.seq }
    }));
    let said: HashSet<u64> = said.await.into_iter().collect();
    assert_eq!(said, (1..=50).collect());
    assert_eq!(group.head().await.pos, group.pos(50));
}

async fn appends_take_effect_in_the_order_they_were_called(subject: Subject) {
    let group = new_group(&subject.log).await;
    let sender = user();
    let said = join_all((0..1000).map(|n| {
        let group = &group;
        async move { group.say(sender, &n.to_string()).await.pos.seq }
    }));
    assert_eq!(said.await, (1..=1000).collect::<Vec<_>>());
}

async fn an_entry_keeps_what_was_appended(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "在吗\n\u{1F44D}");
    let receipt = appended(group.append(&said).await);
    let entry = group.entries().await.remove(0);
    assert_eq!(
        entry,
        group.request(&said).draft.into_entry(receipt.pos, 1, 1)
    );
    assert_eq!(receipt.message, said.content.message_id());
    assert_eq!(receipt.at, AT);
}

async fn a_repeat_is_answered_with_the_first_receipt(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "once");
    let first = appended(group.append(&said).await);
    group.say(user(), "between").await;
    let again = repeated(group.append(&said).await);
    assert_eq!(
        (again.pos, again.message, again.at),
        (first.pos, first.message, first.at)
    );
    assert_eq!(group.head().await.pos.seq, 2, "a repeat writes nothing");
}

async fn a_repeat_under_another_message_id_is_answered_with_the_first(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "once");
    let first = appended(group.append(&said).await);
    let mut retold = text(said.sender, "once");
    retold.client_id = said.client_id;
    assert_eq!(repeated(group.append(&retold).await).message, first.message);
}

async fn another_body_under_the_same_client_id_is_a_conflict(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "one");
    let first = appended(group.append(&said).await);
    let mut other = text(said.sender, "other");
    other.client_id = said.client_id;
    assert_eq!(group.append(&other).await, Outcome::Conflict(first.pos));
    assert_eq!(group.head().await.pos.seq, 1, "a conflict writes nothing");
}

async fn a_client_id_is_of_one_sender_and_one_group(subject: Subject) {
    let (one, two) = (new_group(&subject.log).await, new_group(&subject.log).await);
    let said = text(user(), "mine");
    let mut theirs = text(user(), "theirs");
    theirs.client_id = said.client_id;
    appended(one.append(&said).await);
    assert_eq!(appended(one.append(&theirs).await).pos.seq, 2);
    assert_eq!(appended(two.append(&said).await).pos.seq, 1);
}

async fn another_history_is_refused_and_nothing_is_written(subject: Subject) {
    let group = new_group(&subject.log).await;
    let mut request = group.request(&text(user(), "lost"));
    request.history = "elsewhere".to_owned();
    let outcome = group.log.append(request).await.unwrap();
    assert_eq!(outcome, Outcome::OtherHistory(group.history.clone()));
    assert_eq!(group.head().await.pos.seq, 0);
}

async fn a_lower_epoch_is_stale_once_a_higher_one_is_announced(subject: Subject) {
    let group = new_group(&subject.log).await;
    let next = Group {
        epoch: 2,
        ..group.clone()
    };
    assert!(matches!(next.prepare().await, Prepared::Ready { .. }));
    assert_eq!(
        group.append(&text(user(), "late")).await,
        Outcome::StaleEpoch
    );
    assert_eq!(group.prepare().await, Prepared::StaleEpoch);
    assert_eq!(next.append(&text(user(), "early")).await, Outcome::NotOpen);
    assert_eq!(group.head().await.pos.seq, 0);
}

async fn a_group_that_was_never_opened_is_not_open(subject: Subject) {
    let group = new_group(&subject.log).await;
    let id = GroupId::generate(AT);
    let other = Group {
        id,
        history: group.log.history(id.partition()).await.unwrap(),
        ..group
    };
    assert_eq!(
        other.append(&text(user(), "nobody")).await,
        Outcome::NotOpen
    );
    assert_eq!(subject.log.heads(&[other.id], None).await.unwrap(), [None]);
    assert!(other.entries().await.is_empty());
}

async fn a_permit_older_than_a_change_of_rights_is_refused(subject: Subject) {
    let group = new_group(&subject.log).await;
    let changed = appended(group.append(&appointed(user())).await).pos;
    let said = text(user(), "may I");
    let mut request = group.request(&said);
    request.rights = Some(Position::START);
    let outcome = group.log.append(request.clone()).await.unwrap();
    assert_eq!(outcome, Outcome::RightsChanged(changed));
    request.rights = Some(changed);
    assert_eq!(
        appended(group.log.append(request).await.unwrap()).pos.seq,
        2
    );
    assert_eq!(
        group.head().await.rights,
        changed,
        "a message changes no rights"
    );
}

async fn epoch_and_rights_are_checked_before_the_client_id(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "once");
    appended(group.append(&said).await);
    appended(group.append(&appointed(user())).await);
    let mut request = group.request(&said);
    request.rights = Some(Position::START);
    let outcome = group.log.append(request).await.unwrap();
    assert_eq!(outcome, Outcome::RightsChanged(group.pos(2)));
    Group {
        epoch: 2,
        ..group.clone()
    }
    .prepare()
    .await;
    assert_eq!(group.append(&said).await, Outcome::StaleEpoch);
}

async fn a_miss_may_ask_the_store_first_and_a_hit_never_does(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "again");
    let mut request = group.request(&said);
    request.on_miss = OnMiss::AskStore;
    assert_eq!(
        group.log.append(request.clone()).await.unwrap(),
        Outcome::AskStore
    );
    let first = appended(group.append(&said).await);
    assert_eq!(
        repeated(group.log.append(request).await.unwrap()).pos,
        first.pos
    );
}

async fn a_memory_that_reaches_down_to_the_first_try_answers_a_miss(subject: Subject) {
    let group = new_group(&subject.log).await;
    let known = group.say(user(), "before").await.pos;
    let mut request = group.request(&text(user(), "again"));
    request.on_miss = OnMiss::AppendIfRemembered(known);
    assert_eq!(
        appended(group.log.append(request).await.unwrap()).pos.seq,
        2
    );
}

async fn a_dead_hit_is_replaced_if_it_is_still_what_is_remembered(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "once");
    let dead = appended(group.append(&said).await).pos;
    let mut request = group.request(&said);
    request.replace = Some(dead);
    request.on_miss = OnMiss::AskStore;
    assert_eq!(
        group.log.append(request.clone()).await.unwrap(),
        Outcome::AskStore
    );
    request.on_miss = OnMiss::Append;
    let second = appended(group.log.append(request.clone()).await.unwrap());
    assert_eq!(second.pos.seq, 2);
    assert_eq!(
        repeated(group.log.append(request).await.unwrap()).pos,
        second.pos
    );
}

async fn totals_count_messages_of_everyone_and_of_each_sender(subject: Subject) {
    let group = new_group(&subject.log).await;
    let (li, mei) = (user(), user());
    group.say(li, "1").await;
    group.say(mei, "1").await;
    appended(group.append(&appointed(li)).await);
    group.say(li, "2").await;
    let totals: Vec<_> = group
        .entries()
        .await
        .iter()
        .map(|e| (e.count, e.sender_count))
        .collect();
    assert_eq!(totals, [(1, 1), (2, 1), (2, 1), (3, 2)]);
    let (head, own) = group.head_of(Some(li)).await;
    assert_eq!((head.pos, head.count, own), (group.pos(4), 3, Some(2)));
    assert_eq!(group.head_of(Some(user())).await.1, Some(0));
}

async fn ranges_are_bounded_and_ascend(subject: Subject) {
    let group = new_group(&subject.log).await;
    for n in 0..9 {
        group.say(user(), &n.to_string()).await;
    }
    let (log, id) = (&subject.log, group.id);
    let range = log
        .range(id, group.pos(2), Some(group.pos(6)), 3)
        .await
        .unwrap();
    assert_eq!(seqs(&range), [3, 4, 5]);
    let range = log
        .range(id, group.pos(4), Some(group.pos(6)), 10)
        .await
        .unwrap();
    assert_eq!(seqs(&range), [5, 6]);
    let range = log.range_back(id, Some(group.pos(6)), 2).await.unwrap();
    assert_eq!(seqs(&range), [4, 5]);
    let range = log.range_back(id, None, 3).await.unwrap();
    assert_eq!(seqs(&range), [7, 8, 9]);
}

async fn a_new_epoch_goes_on_where_the_old_one_ended(subject: Subject) {
    let group = new_group(&subject.log).await;
    let li = user();
    let said = text(li, "kept");
    let first = appended(group.append(&said).await).pos;
    group.say(user(), "other").await;
    let next = Group {
        epoch: 2,
        ..group.clone()
    };
    let ready = Prepared::Ready {
        top: Some(group.pos(2)),
        remembers: true,
    };
    assert_eq!(next.prepare().await, ready);
    assert_eq!(next.open(3, 2, None).await, Opened::Yes);
    assert_eq!(next.head().await.pos, next.pos(2));
    assert_eq!(
        repeated(next.append(&said).await).pos,
        first,
        "the memory is kept"
    );
    let receipt = next.say(li, "new").await;
    assert_eq!((receipt.pos, receipt.count), (next.pos(3), 3));
    assert_eq!(
        next.head_of(Some(li)).await.1,
        Some(2),
        "own totals are kept"
    );
    assert_eq!(group.append(&text(li, "old")).await, Outcome::StaleEpoch);
    let across = subject
        .log
        .range(group.id, group.pos(1), Some(next.pos(3)), 9)
        .await
        .unwrap();
    let across: Vec<_> = across.iter().map(|entry| entry.pos).collect();
    assert_eq!(across, [group.pos(2), next.pos(3)]);
}

async fn an_opening_whose_expectations_do_not_hold_is_refused(subject: Subject) {
    let group = new_group(&subject.log).await;
    group.say(user(), "1").await;
    let next = Group {
        epoch: 2,
        ..group.clone()
    };
    let opening = next.opening(2, 1, None, Some(group.pos(1)));
    assert_eq!(
        subject.log.open(opening.clone()).await.unwrap(),
        Opened::No,
        "not announced"
    );
    next.prepare().await;
    let mut wrong = next.opening(2, 1, None, Some(group.pos(7)));
    assert_eq!(
        subject.log.open(wrong.clone()).await.unwrap(),
        Opened::No,
        "another top"
    );
    wrong = opening.clone();
    wrong.history = "elsewhere".to_owned();
    assert_eq!(
        subject.log.open(wrong).await.unwrap(),
        Opened::No,
        "another history"
    );
    assert_eq!(
        subject.log.open(opening.clone()).await.unwrap(),
        Opened::Yes
    );
    assert_eq!(
        subject.log.open(opening).await.unwrap(),
        Opened::No,
        "a second delivery"
    );
}

async fn the_stored_mark_only_moves_forward_and_not_beyond_the_head(subject: Subject) {
    let group = new_group(&subject.log).await;
    for n in 0..3 {
        group.say(user(), &n.to_string()).await;
    }
    for (mark, expected) in [(2, 2), (1, 2), (9, 2), (3, 3)] {
        set_stored(&*subject.log, group.id, group.pos(mark)).await;
        assert_eq!(
            group.head().await.stored,
            group.pos(expected),
            "after {mark}"
        );
    }
    assert_eq!(group.say(user(), "4").await.stored, group.pos(3));
}

async fn what_the_store_itself_appended_is_stored(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "1");
    assert_eq!(appended(group.append(&said).await).stored, group.pos(1));
    assert_eq!(group.say(user(), "2").await.stored, group.pos(2));
    assert_eq!(repeated(group.append(&said).await).stored, group.pos(2));
    set_stored(&*subject.log, group.id, group.pos(1)).await;
    assert_eq!(group.head().await.stored, group.pos(2));
}

async fn a_dropped_append_is_whole_or_not_there(subject: Subject) {
    let group = new_group(&subject.log).await;
    let said = text(user(), "dropped");
    let mut append = group.log.append(group.request(&said));
    let polled = futures::poll!(&mut append);
    drop((polled, append));
    let again = group.append(&said).await;
    assert!(
        matches!(again, Outcome::Appended(_) | Outcome::Repeated(_)),
        "{again:?}"
    );
    let entries = group.entries().await;
    assert_eq!((entries.len(), entries[0].count), (1, 1));
}

async fn a_tail_sees_every_event_in_order(subject: Subject) {
    let group = new_group(&subject.log).await;
    let mut tail = subject.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    let appends = join_all((0..100).map(|n| {
        let group = group.clone();
        async move { group.say(user(), &n.to_string()).await }
    }));
    let (_, seen) = tokio::join!(appends, tail_entries(&mut tail, group.id, 100));
    assert_eq!(seqs(&seen), (1..=100).collect::<Vec<_>>());
}

async fn a_tail_begins_above_its_cursor_and_leaves_what_it_does_not_watch(subject: Subject) {
    let (one, two) = (new_group(&subject.log).await, new_group(&subject.log).await);
    one.say(user(), "1").await;
    one.say(user(), "2").await;
    two.say(user(), "1").await;
    let mut tail = subject.log.tail().await.unwrap();
    tail.watch(one.id, one.pos(1));
    tail.watch(two.id, Position::START);
    tail.unwatch(two.id);
    assert_eq!(seqs(&tail_entries(&mut tail, one.id, 1).await), [2]);
    two.say(user(), "unseen").await;
    one.say(user(), "3").await;
    let seen = tailed(&mut tail).await;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].group, seqs(&seen[0].entries)), (one.id, vec![3]));
}

async fn a_tail_that_was_interrupted_misses_nothing(subject: Subject) {
    let group = new_group(&subject.log).await;
    let mut tail = subject.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    let mut seen = Vec::new();
    for n in 0..50 {
        group.say(user(), &n.to_string()).await;
        let mut next = tail.next();
        if let std::task::Poll::Ready(news) = futures::poll!(&mut next) {
            seen.extend(news.unwrap().into_iter().flat_map(|tailed| tailed.entries));
        }
    }
    let rest = tail_entries(&mut tail, group.id, 50 - seen.len()).await;
    seen.extend(rest);
    assert_eq!(seqs(&seen), (1..=50).collect::<Vec<_>>());
}

contract!({
    embedded: crate::support::embedded::log_subject,
    redis: crate::support::redis::log_subject,
    redis_cluster: crate::support::cluster::log_subject,
}, [
    positions_are_dense_from_one,
    concurrent_appends_take_every_seq_once,
    appends_take_effect_in_the_order_they_were_called,
    an_entry_keeps_what_was_appended,
    a_repeat_is_answered_with_the_first_receipt,
    a_repeat_under_another_message_id_is_answered_with_the_first,
    another_body_under_the_same_client_id_is_a_conflict,
    a_client_id_is_of_one_sender_and_one_group,
    another_history_is_refused_and_nothing_is_written,
    a_lower_epoch_is_stale_once_a_higher_one_is_announced,
    a_group_that_was_never_opened_is_not_open,
    a_permit_older_than_a_change_of_rights_is_refused,
    epoch_and_rights_are_checked_before_the_client_id,
    a_miss_may_ask_the_store_first_and_a_hit_never_does,
    a_memory_that_reaches_down_to_the_first_try_answers_a_miss,
    a_dead_hit_is_replaced_if_it_is_still_what_is_remembered,
    totals_count_messages_of_everyone_and_of_each_sender,
    ranges_are_bounded_and_ascend,
    a_new_epoch_goes_on_where_the_old_one_ended,
    an_opening_whose_expectations_do_not_hold_is_refused,
    a_dropped_append_is_whole_or_not_there,
    a_tail_sees_every_event_in_order,
    a_tail_begins_above_its_cursor_and_leaves_what_it_does_not_watch,
    a_tail_that_was_interrupted_misses_nothing,
]);

// A log that is not itself the store is told what is stored.
contract!({
    redis_mark: crate::support::redis::log_subject,
    redis_cluster_mark: crate::support::cluster::log_subject,
}, [the_stored_mark_only_moves_forward_and_not_beyond_the_head]);

contract!({
    embedded_mark: crate::support::embedded::log_subject,
}, [what_the_store_itself_appended_is_stored]);
