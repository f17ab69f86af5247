//! Ranges: ordered, bounded, of one group.

use qunliu::model::id::GroupId;
use qunliu::model::position::{PART_MAX, Position};

use super::{Subject, everything, keep, positions, seqs};
use crate::support::sample::{at, group};

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

contract!(
    {
        mongo: crate::support::mongo::open_messages,
        embedded: crate::support::embedded::messages_subject,
    },
    [
        a_range_begins_above_its_lower_and_ends_with_its_upper_bound,
        a_range_without_room_is_empty,
        pages_upwards_meet_each_entry_once,
        pages_downwards_meet_each_entry_once,
        ranges_compare_the_epoch_first_and_hold_dead_positions,
        a_range_back_holds_the_highest_below_its_bound,
        neighbouring_groups_do_not_mix,
    ]
);
