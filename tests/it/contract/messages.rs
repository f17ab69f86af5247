//! What [`Messages`] promises: idempotent inserts, ordered ranges, look-ups.

use futures::future::join_all;
use qunliu::model::client_id::ClientId;
use qunliu::model::event::{Content, Entry};
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::message::{AllWord, Body, Mentions, TEXT_CHARS_MAX};
use qunliu::model::position::{PART_MAX, Position};
use qunliu::model::role::Role;
use qunliu::store::messages::Inserted::{Different, Kept};
use qunliu::store::messages::Messages;

use crate::support::fixture::Fixture;
use crate::support::sample::{AT, at, entry, group, message, text, user};

type Subject = Fixture<dyn Messages>;

/// Keeps messages at `positions` of one group.
async fn keep(messages: &dyn Messages, group: GroupId, positions: &[Position]) -> Vec<Entry> {
    let entries: Vec<_> = positions.iter().map(|pos| message(*pos, "在吗")).collect();
    keep_entries(messages, group, &entries).await;
    entries
}

async fn keep_entries(messages: &dyn Messages, group: GroupId, entries: &[Entry]) {
    let batch: Vec<_> = entries.iter().map(|entry| (group, entry.clone())).collect();
    let inserted = messages.insert(&batch).await.unwrap();
    assert!(inserted.iter().all(|one| *one == Kept), "{inserted:?}");
}

async fn everything(messages: &dyn Messages, group: GroupId) -> Vec<Entry> {
    let all = messages.range(group, Position::START, None, 10_000).await;
    all.unwrap()
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.pos).collect()
}

fn seqs(epoch: u64, seqs: impl IntoIterator<Item = u64>) -> Vec<Position> {
    seqs.into_iter().map(|seq| at(epoch, seq)).collect()
}

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

async fn a_range_begins_above_its_lower_and_ends_with_its_upper_bound(messages: Subject) {
    let group = group();
    keep(&*messages, group, &seqs(1, 1..=9)).await;
    let range = messages.range(group, at(1, 3), Some(at(1, 6)), 100).await;
    assert_eq!(positions(&range.unwrap()), seqs(1, 4..=6));
    let open = messages.range(group, at(1, 7), None, 100).await.unwrap();
    assert_eq!(positions(&open), seqs(1, 8..=9));
}

async fn a_range_without_room_is_empty(messages: Subject) {
    let group = group();
    keep(&*messages, group, &seqs(1, 1..=9)).await;
    for (after, upto) in [
        (at(1, 5), at(1, 5)),
        (at(1, 6), at(1, 2)),
        (at(2, 0), at(1, 9)),
    ] {
        let range = messages.range(group, after, Some(upto), 100).await.unwrap();
        assert!(range.is_empty(), "{after:?} to {upto:?}");
    }
    let (start, zero) = (Position::START, 0);
    assert!(
        messages
            .range(group, start, None, zero)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        messages
            .range_back(group, None, zero)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        messages
            .range_back(group, Some(start), 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        messages
            .positions(group, start, zero)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn pages_upwards_meet_each_entry_once(messages: Subject) {
    let group = group();
    let all = keep(&*messages, group, &seqs(1, 1..=70)).await;
    let (mut walked, mut after) = (Vec::new(), Position::START);
    loop {
        let page = messages.range(group, after, None, 32).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.pos;
        walked.extend(page);
    }
    assert_eq!(walked, all);
}

async fn pages_downwards_meet_each_entry_once(messages: Subject) {
    let group = group();
    let all = keep(&*messages, group, &seqs(1, 1..=70)).await;
    let (mut walked, mut before) = (Vec::new(), None);
    loop {
        let page = messages.range_back(group, before, 32).await.unwrap();
        let Some(first) = page.first() else { break };
        before = Some(first.pos);
        walked.extend(page.into_iter().rev());
    }
    walked.reverse();
    assert_eq!(walked, all);
}

async fn ranges_compare_the_epoch_first_and_hold_dead_positions(messages: Subject) {
    let group = group();
    // (1,250) and (1,300) are dead if epoch 2 began at 100; seqs cross a byte's edge.
    let kept = [
        at(1, 7),
        at(1, 250),
        at(1, 300),
        at(2, 100),
        at(2, 256),
        at(256, 1),
    ];
    let mut shuffled = kept;
    shuffled.reverse();
    keep(&*messages, group, &shuffled).await;
    assert_eq!(positions(&everything(&*messages, group).await), kept);
    let crossing = messages.range(group, at(1, 250), Some(at(2, 100)), 9).await;
    assert_eq!(positions(&crossing.unwrap()), kept[2..=3]);
    let back = messages.range_back(group, Some(at(2, 256)), 3).await;
    assert_eq!(positions(&back.unwrap()), kept[1..=3]);
    let listed = messages.positions(group, at(1, 7), 4).await.unwrap();
    assert_eq!(listed, kept[1..=4]);
}

async fn a_range_back_holds_the_highest_below_its_bound(messages: Subject) {
    let group = group();
    keep(&*messages, group, &seqs(1, 1..=9)).await;
    let newest = messages.range_back(group, None, 3).await.unwrap();
    assert_eq!(positions(&newest), seqs(1, 7..=9));
    let below = messages.range_back(group, Some(at(1, 4)), 100).await;
    assert_eq!(positions(&below.unwrap()), seqs(1, 1..=3));
}

async fn neighbouring_groups_do_not_mix(messages: Subject) {
    let groups: Vec<_> = [[0x00; 16], [0x7f; 16], [0x80; 16], [0xfe; 16], [0xff; 16]]
        .map(GroupId::from_bytes)
        .to_vec();
    for (group, seq) in groups.iter().zip(1..) {
        keep(
            &*messages,
            *group,
            &[at(1, seq), at(PART_MAX, PART_MAX / 10)],
        )
        .await;
    }
    for (group, seq) in groups.iter().zip(1..) {
        let expected = [at(1, seq), at(PART_MAX, PART_MAX / 10)];
        let up = everything(&*messages, *group).await;
        assert_eq!(positions(&up), expected);
        let down = messages.range_back(*group, None, 9).await.unwrap();
        assert_eq!(positions(&down), expected);
        let start = Position::START;
        let listed = messages.positions(*group, start, 9).await.unwrap();
        assert_eq!(listed, expected);
    }
    let absent = group();
    assert!(everything(&*messages, absent).await.is_empty());
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

async fn only_messages_of_the_sender_are_sent_between(messages: Subject) {
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
    let between = |after, upto| messages.sent_between(group, sender, after, upto);
    let all = between(Position::START, at(9, 9)).await.unwrap();
    assert_eq!(
        all,
        [(at(1, 1), 1), (at(1, 3), 3), (at(2, 5), 5), (at(2, 6), 6)]
    );
    let some = between(at(1, 1), at(2, 5)).await.unwrap();
    assert_eq!(some, [(at(1, 3), 3), (at(2, 5), 5)]);
    assert!(between(at(2, 6), at(2, 6)).await.unwrap().is_empty());
    let strangers: UserId = user();
    let none = messages
        .sent_between(group, strangers, Position::START, at(9, 9))
        .await;
    assert!(none.unwrap().is_empty());
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
        a_range_begins_above_its_lower_and_ends_with_its_upper_bound,
        a_range_without_room_is_empty,
        pages_upwards_meet_each_entry_once,
        pages_downwards_meet_each_entry_once,
        ranges_compare_the_epoch_first_and_hold_dead_positions,
        a_range_back_holds_the_highest_below_its_bound,
        neighbouring_groups_do_not_mix,
        the_last_message_is_the_newest_counted_entry_up_to_the_bound,
        a_group_without_a_message_has_no_last_one,
        last_messages_of_five_hundred_groups_come_in_their_order,
        the_last_message_is_never_one_that_was_not_kept,
        an_older_message_kept_late_is_not_the_last,
        a_send_is_found_by_its_group_sender_and_key,
        every_entry_under_a_key_is_found_from_the_bound_on,
        only_messages_of_the_sender_are_sent_between,
        an_entry_is_restored_over_a_placeholder_and_where_nothing_stands,
        an_entry_is_not_restored_over_another_one,
    ]
);
