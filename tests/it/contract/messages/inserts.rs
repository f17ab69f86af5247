//! Inserting and restoring: idempotent, and what stands stays.

use futures::future::join_all;
use qunliu::model::client_id::ClientId;
use qunliu::model::event::Content;
use qunliu::model::message::{AllWord, Body, Mentions, TEXT_CHARS_MAX};
use qunliu::model::position::{PART_MAX, Position};
use qunliu::model::role::Role;
use qunliu::store::messages::Inserted::{Different, Kept};

use super::{Subject, everything, keep, keep_entries, positions, seqs};
use crate::support::sample::{AT, at, entry, group, message, text, user};

/// One content of each kind, and messages with all that they may carry.
fn contents() -> Vec<Content> {
    let (user, role) = (user(), Role::Admin);
    let name = Some("老街面馆 1 群".to_owned());
    let mention = |mentions| Content::Message {
        id: qunliu::model::id::MessageId::generate(AT),
        body: Body::Text {
            text: "\"引号\"\\ \u{1f44d}\u{200d}\n\u{7f}".to_owned(),
        },
        reply_to: Some(at(3, 7)),
        mentions,
    };
    vec![
        text("在吗"),
        mention(Mentions::All(AllWord::All)),
        mention(Mentions::Users(vec![user])),
        Content::Joined { user, role },
        Content::Left { user },
        Content::Removed { user },
        Content::Role { user, role },
        Content::Settings { name },
    ]
}

async fn an_entry_of_each_kind_reads_back_unchanged(messages: Subject) {
    let group = group();
    let entries: Vec<_> = contents()
        .into_iter()
        .zip(1..)
        .map(|(content, seq)| entry(at(1, seq), user(), ClientId::random(), content))
        .collect();
    keep_entries(&*messages, group, &entries).await;
    assert_eq!(everything(&*messages, group).await, entries);
}

async fn the_largest_numbers_read_back(messages: Subject) {
    let group = group();
    let mut last = message(at(PART_MAX, PART_MAX / 10), "在吗");
    last.pos.seq = PART_MAX;
    (last.count, last.sender_count) = (PART_MAX, PART_MAX - 1);
    let entries = [last];
    keep_entries(&*messages, group, &entries).await;
    assert_eq!(everything(&*messages, group).await, entries);
}

async fn inserting_again_keeps_what_was_kept(messages: Subject) {
    let group = group();
    let first = keep(&*messages, group, &seqs(1, 1..=10)).await;
    keep_entries(&*messages, group, &first).await;
    assert_eq!(everything(&*messages, group).await, first);
}

async fn an_overlapping_insert_keeps_old_and_new(messages: Subject) {
    let group = group();
    let all: Vec<_> = seqs(1, 1..=20)
        .into_iter()
        .map(|pos| message(pos, "在吗"))
        .collect();
    keep_entries(&*messages, group, &all[..12]).await;
    keep_entries(&*messages, group, &all[8..]).await;
    assert_eq!(everything(&*messages, group).await, all);
}

async fn another_entry_at_a_position_is_reported_and_the_first_stays(messages: Subject) {
    let group = group();
    let first = keep(&*messages, group, &seqs(1, [1, 2, 4])).await;
    let batch = [
        (group, message(at(1, 2), "另一句")),
        (group, message(at(1, 3), "新的")),
        (group, first[2].clone()),
        (group, message(at(1, 1), "别的")),
    ];
    let inserted = messages.insert(&batch).await.unwrap();
    assert_eq!(inserted, [Different, Kept, Kept, Different]);
    let [one, two, four] = [0, 1, 2].map(|n| first[n].clone());
    let expected = [one, two, batch[1].1.clone(), four];
    assert_eq!(everything(&*messages, group).await, expected);
}

async fn the_same_words_of_another_send_are_another_entry(messages: Subject) {
    let (group, sender, key) = (group(), user(), ClientId::random());
    let first = entry(at(1, 1), sender, key, text("好的"));
    keep_entries(&*messages, group, std::slice::from_ref(&first)).await;
    let others = [
        entry(at(1, 1), user(), key, text("好的")),
        entry(at(1, 1), sender, ClientId::random(), text("好的")),
    ];
    for other in others {
        assert_eq!(other.digest, first.digest);
        let inserted = messages.insert(&[(group, other)]).await.unwrap();
        assert_eq!(inserted, [Different]);
    }
    assert_eq!(everything(&*messages, group).await, [first]);
}

async fn a_position_twice_in_one_call_keeps_the_first(messages: Subject) {
    let group = group();
    let first = message(at(1, 1), "在吗");
    let batch = [
        (group, first.clone()),
        (group, first.clone()),
        (group, message(at(1, 1), "另一句")),
    ];
    let inserted = messages.insert(&batch).await.unwrap();
    assert_eq!(inserted, [Kept, Kept, Different]);
    assert_eq!(everything(&*messages, group).await, [first]);
}

async fn of_racing_entries_at_a_position_one_is_kept(messages: Subject) {
    let group = group();
    let batches: Vec<_> = (0..10)
        .map(|n| [(group, message(at(1, 1), &format!("第 {n} 句")))])
        .collect();
    let inserts = batches.iter().map(|batch| messages.insert(batch));
    let inserted = join_all(inserts).await;
    let kept: Vec<_> = batches
        .iter()
        .zip(inserted)
        .filter_map(|(batch, inserted)| (inserted.unwrap() == [Kept]).then(|| batch[0].1.clone()))
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(everything(&*messages, group).await, kept);
}

async fn inserting_nothing_answers_nothing(messages: Subject) {
    assert!(messages.insert(&[]).await.unwrap().is_empty());
}

async fn thousands_of_entries_of_many_groups_are_kept_in_one_call(messages: Subject) {
    let groups = [group(), group(), group(), group(), group()];
    let batch: Vec<_> = (0..2500_u64)
        .rev()
        .map(|n| {
            let group = groups[usize::try_from(n % 5).unwrap()];
            (group, message(at(1, n / 5 + 1), "在吗"))
        })
        .collect();
    let inserted = messages.insert(&batch).await.unwrap();
    assert_eq!(inserted, vec![Kept; 2500]);
    for group in groups {
        let kept = everything(&*messages, group).await;
        assert_eq!(positions(&kept), seqs(1, 1..=500));
    }
    assert_eq!(messages.insert(&batch).await.unwrap(), vec![Kept; 2500]);
}

async fn hundreds_of_the_longest_messages_are_kept_in_one_call(messages: Subject) {
    let (group, long) = (group(), "字".repeat(TEXT_CHARS_MAX));
    let entries: Vec<_> = (1..=300).map(|seq| message(at(1, seq), &long)).collect();
    keep_entries(&*messages, group, &entries).await;
    assert_eq!(everything(&*messages, group).await, entries);
}

async fn an_entry_is_restored_over_a_placeholder_and_where_nothing_stands(messages: Subject) {
    let group = group();
    let lost = |pos| entry(pos, user(), ClientId::random(), Content::Lost {});
    keep_entries(
        &*messages,
        group,
        &[lost(at(1, 1)), message(at(1, 2), "二")],
    )
    .await;
    let before = everything(&*messages, group).await;
    for real in [message(at(1, 1), "一"), message(at(1, 3), "三")] {
        for _ in 0..2 {
            let restored = messages.restore(group, &real).await.unwrap();
            assert_eq!(restored, Kept, "to restore again changes nothing");
        }
        let page = messages.range(group, Position::START, Some(real.pos), 9);
        assert_eq!(page.await.unwrap().last(), Some(&real));
    }
    assert_eq!(everything(&*messages, group).await[1], before[1]);
}

async fn an_entry_is_not_restored_over_another_one(messages: Subject) {
    let group = group();
    let first = message(at(1, 1), "一");
    keep_entries(&*messages, group, std::slice::from_ref(&first)).await;
    let restored = messages.restore(group, &message(at(1, 1), "别的")).await;
    assert_eq!(restored.unwrap(), Different);
    assert_eq!(everything(&*messages, group).await, [first]);
}

contract!(
    {
        mongo: crate::support::mongo::open_messages,
        embedded: crate::support::embedded::messages_subject,
    },
    [
        an_entry_of_each_kind_reads_back_unchanged,
        the_largest_numbers_read_back,
        inserting_again_keeps_what_was_kept,
        an_overlapping_insert_keeps_old_and_new,
        another_entry_at_a_position_is_reported_and_the_first_stays,
        the_same_words_of_another_send_are_another_entry,
        a_position_twice_in_one_call_keeps_the_first,
        of_racing_entries_at_a_position_one_is_kept,
        inserting_nothing_answers_nothing,
        thousands_of_entries_of_many_groups_are_kept_in_one_call,
        hundreds_of_the_longest_messages_are_kept_in_one_call,
        an_entry_is_restored_over_a_placeholder_and_where_nothing_stands,
        an_entry_is_not_restored_over_another_one,
    ]
);
