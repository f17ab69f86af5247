//! Last messages, sends by their key, and sums.

use qunliu::model::client_id::ClientId;
use qunliu::model::epoch::Span;
use qunliu::model::event::Content;
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::store::messages::Inserted::Different;
use qunliu::store::messages::{Few, Sums};

use super::{Subject, keep, keep_entries, seqs};
use crate::support::sample::{at, entry, group, message, text, user};

async fn the_newest_entry_is_the_highest_of_whatever_kind(messages: Subject) {
    let (group, user) = (group(), user());
    let left = entry(at(2, 6), user, ClientId::random(), Content::Left { user });
    let below = [at(1, 900), at(2, 5)].map(|pos| message(pos, "在吗"));
    keep_entries(&*messages, group, std::slice::from_ref(&left)).await;
    keep_entries(&*messages, group, &below).await;
    assert_eq!(messages.newest(&[group]).await.unwrap(), [Some(left)]);
}

async fn newest_entries_of_five_hundred_groups_come_in_their_order(messages: Subject) {
    let groups: Vec<_> = (0..500).map(|_| group()).collect();
    let numbered = groups.iter().zip(1..).skip(100);
    let batch: Vec<_> = numbered
        .map(|(g, n)| (*g, message(at(1, n), "新")))
        .collect();
    messages.insert(&batch).await.unwrap();
    let asked: Vec<_> = groups.iter().rev().copied().collect();
    let newest = messages.newest(&asked).await.unwrap();
    let seqs: Vec<_> = newest.into_iter().map(|e| e.map(|e| e.pos.seq)).collect();
    let expected: Vec<_> = (1..=500).rev().map(|n| (n > 100).then_some(n)).collect();
    assert_eq!(seqs, expected);
    assert!(messages.newest(&[]).await.unwrap().is_empty());
}

async fn the_last_message_is_the_newest_counted_entry_up_to_the_bound(messages: Subject) {
    let group = group();
    let user = user();
    let mut entries: Vec<_> = seqs(1, 1..=6)
        .into_iter()
        .map(|pos| message(pos, "在吗"))
        .collect();
    for (index, seq) in [(3, 4), (5, 6)] {
        entries[index] = entry(at(1, seq), user, ClientId::random(), Content::Left { user });
    }
    keep_entries(&*messages, group, &entries).await;
    let bounds = [6, 5, 4, 3, 0].map(|seq| (group, at(1, seq)));
    let last = messages.last_messages(&bounds).await.unwrap();
    let found: Vec<_> = last.iter().map(|e| e.as_ref().map(|e| e.pos.seq)).collect();
    assert_eq!(found, [Some(5), Some(5), Some(3), Some(3), None]);
    assert_eq!(last[0].as_ref(), Some(&entries[4]));
}

async fn a_group_without_a_message_has_no_last_one(messages: Subject) {
    let (quiet, user) = (group(), user());
    let joined = Content::Joined {
        user,
        role: Role::Owner,
    };
    let entries = [entry(at(1, 1), user, ClientId::random(), joined)];
    keep_entries(&*messages, quiet, &entries).await;
    let last = messages
        .last_messages(&[(quiet, at(1, 9)), (group(), at(1, 9))])
        .await;
    assert_eq!(last.unwrap(), [None, None]);
    assert!(messages.last_messages(&[]).await.unwrap().is_empty());
}

async fn last_messages_of_five_hundred_groups_come_in_their_order(messages: Subject) {
    let groups: Vec<_> = (0..500).map(|_| group()).collect();
    let batch: Vec<_> = groups
        .iter()
        .zip(1..)
        .flat_map(|(group, n)| {
            [
                (*group, message(at(1, n), "旧")),
                (*group, message(at(1, n + 1), "新")),
            ]
        })
        .collect();
    messages.insert(&batch).await.unwrap();
    let asked: Vec<_> = groups.iter().rev().map(|g| (*g, at(9, 0))).collect();
    let last = messages.last_messages(&asked).await.unwrap();
    let newest: Vec<_> = last.into_iter().map(|e| e.unwrap().pos).collect();
    assert_eq!(newest, seqs(1, (2..=501).rev()));
}

async fn the_last_message_is_never_one_that_was_not_kept(messages: Subject) {
    let group = group();
    let first = message(at(1, 1), "在吗");
    keep_entries(&*messages, group, std::slice::from_ref(&first)).await;
    let other = message(at(1, 1), "另一句");
    let inserted = messages.insert(&[(group, other)]).await.unwrap();
    assert_eq!(inserted, [Different]);
    let last = messages.last_messages(&[(group, at(9, 9))]).await.unwrap();
    assert_eq!(last, [Some(first)]);
}

async fn an_older_message_kept_late_is_not_the_last(messages: Subject) {
    let group = group();
    let newest = keep(&*messages, group, &[at(2, 7)]).await;
    keep(&*messages, group, &[at(2, 6), at(1, 900)]).await;
    let last = messages.last_messages(&[(group, at(9, 9))]).await.unwrap();
    assert_eq!(last, [Some(newest[0].clone())]);
}

async fn a_send_is_found_by_its_group_sender_and_key(messages: Subject) {
    let (group, other_group) = (group(), group());
    let (sender, key) = (user(), ClientId::random());
    let sent = entry(at(2, 5), sender, key, text("在吗"));
    keep_entries(&*messages, group, &[message(at(2, 4), "旁"), sent.clone()]).await;
    keep_entries(&*messages, other_group, &[message(at(2, 5), "旁")]).await;
    let find = |group, sender, key| messages.find_sent(group, (sender, key), Position::START);
    assert_eq!(find(group, sender, key).await.unwrap(), [sent]);
    assert!(find(other_group, sender, key).await.unwrap().is_empty());
    assert!(find(group, user(), key).await.unwrap().is_empty());
    let fresh = ClientId::random();
    assert!(find(group, sender, fresh).await.unwrap().is_empty());
}

async fn every_entry_under_a_key_is_found_from_the_bound_on(messages: Subject) {
    let (group, sender, key) = (group(), user(), ClientId::random());
    let sends: Vec<_> = [at(1, 900), at(2, 5), at(3, 6)]
        .map(|pos| entry(pos, sender, key, text("在吗")))
        .to_vec();
    let stranger = entry(at(2, 7), user(), key, text("别人"));
    keep_entries(&*messages, group, &sends).await;
    keep_entries(&*messages, group, &[stranger]).await;
    for (from, expected) in [
        (Position::START, &sends[..]),
        (at(1, 900), &sends[..]),
        (at(1, 901), &sends[1..]),
        (at(2, 5), &sends[1..]),
        (at(3, 7), &[]),
    ] {
        let mut found = messages
            .find_sent(group, (sender, key), from)
            .await
            .unwrap();
        found.sort_by_key(|entry| entry.pos);
        assert_eq!(found, expected, "from {from:?}");
    }
}

async fn few_messages_of_one_sender_are_read_from_either_end(messages: Subject) {
    let (group, sender) = (group(), user());
    let by = |pos, sender, content| entry(pos, sender, ClientId::random(), content);
    let entries = [
        by(at(1, 1), sender, text("一")),
        by(at(1, 2), user(), text("二")),
        by(at(1, 3), sender, text("三")),
        by(at(1, 4), sender, Content::Left { user: sender }),
        by(at(2, 5), sender, text("五")),
        by(at(2, 6), sender, text("六")),
    ];
    keep_entries(&*messages, group, &entries).await;
    let elsewhere = crate::support::sample::group();
    keep_entries(&*messages, elsewhere, &entries[..1]).await;
    let between = |after, upto, few| messages.sent_between(group, sender, after, upto, few);
    let all = [(at(1, 1), 1), (at(1, 3), 3), (at(2, 5), 5), (at(2, 6), 6)];
    let reversed = || all.iter().rev().copied();
    for (few, expected) in [
        (Few::First(9), all.to_vec()),
        (Few::First(2), all[..2].to_vec()),
        (Few::Last(9), reversed().collect()),
        (Few::Last(3), reversed().take(3).collect()),
        (Few::Last(0), vec![]),
    ] {
        let found = between(Position::START, at(9, 9), few).await.unwrap();
        assert_eq!(found, expected, "{few:?}");
    }
    let some = between(at(1, 1), at(2, 5), Few::First(9)).await.unwrap();
    assert_eq!(some, [(at(1, 3), 3), (at(2, 5), 5)]);
    let some = between(at(1, 1), at(2, 5), Few::Last(1)).await.unwrap();
    assert_eq!(some, [(at(2, 5), 5)]);
    for few in [Few::First(9), Few::Last(9)] {
        let none = between(at(2, 6), at(2, 6), few).await.unwrap();
        assert_eq!(none, []);
        let none = between(at(2, 6), at(2, 5), few).await.unwrap();
        assert_eq!(none, []);
        let none = messages.sent_between(group, user(), Position::START, at(9, 9), few);
        assert_eq!(none.await.unwrap(), []);
    }
}

async fn a_span_comes_to_its_events_and_the_own_totals_of_its_senders(messages: Subject) {
    let (other, group, talker, silent) = (group(), group(), user(), user());
    let by = |pos, sender, content| entry(pos, sender, ClientId::random(), content);
    let entries = [
        by(at(1, 1), talker, text("一")),
        by(at(1, 2), silent, Content::Left { user: silent }),
        by(at(1, 3), talker, text("三")),
        by(at(1, 4), talker, Content::Left { user: talker }),
        by(at(2, 2), talker, text("二")),
    ];
    keep_entries(&*messages, group, &entries).await;
    keep(&*messages, other, &[at(1, 1), at(1, 2)]).await;
    for (epoch, first, last, events, own) in [
        (1, 1, 9, 4, vec![(talker, 3)]),
        (1, 1, 2, 2, vec![(talker, 1)]),
        (1, 2, 2, 1, vec![]),
        (1, 4, 4, 1, vec![]),
        (2, 1, 9, 1, vec![(talker, 2)]),
        (3, 1, 9, 0, vec![]),
    ] {
        let span = Span { epoch, first, last };
        let sums = messages.sums(group, span).await.unwrap();
        assert_eq!(sums, Sums { events, own }, "{span:?}");
    }
}

contract!(
    {
        mongo: crate::support::mongo::open_messages,
        embedded: crate::support::embedded::messages_subject,
    },
    [
        the_newest_entry_is_the_highest_of_whatever_kind,
        newest_entries_of_five_hundred_groups_come_in_their_order,
        the_last_message_is_the_newest_counted_entry_up_to_the_bound,
        a_group_without_a_message_has_no_last_one,
        last_messages_of_five_hundred_groups_come_in_their_order,
        the_last_message_is_never_one_that_was_not_kept,
        an_older_message_kept_late_is_not_the_last,
        a_send_is_found_by_its_group_sender_and_key,
        every_entry_under_a_key_is_found_from_the_bound_on,
        few_messages_of_one_sender_are_read_from_either_end,
        a_span_comes_to_its_events_and_the_own_totals_of_its_senders,
    ]
);
