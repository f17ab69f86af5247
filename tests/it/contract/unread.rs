//! What [`Unread`] promises: marks that only move forward, batches that may come again.

use futures::future::join_all;
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::position::{PART_MAX, Position};
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::store::unread::{Learnt, Mention, Unread};

use crate::support::fixture::Fixture;
use crate::support::sample::{AT, at, group, user};

type Subject = Fixture<dyn Unread>;

const fn mark(pos: Position, count: u64, own: u64) -> ReadMark {
    ReadMark {
        pos,
        totals: Totals { count, own },
    }
}

fn learnt_joined(group: GroupId, user: UserId, mark: ReadMark) -> Learnt {
    Learnt {
        joined: vec![(group, user, mark)],
        ..Learnt::default()
    }
}

fn learnt_mention(group: GroupId, user: UserId, pos: Position, by: UserId) -> Learnt {
    Learnt {
        mentions: vec![(group, user, pos, Mention { by, at: AT })],
        ..Learnt::default()
    }
}

fn learnt_all(group: GroupId, pos: Position, by: UserId) -> Learnt {
    Learnt {
        mentions_all: vec![(group, pos, by)],
        ..Learnt::default()
    }
}

async fn record(unread: &dyn Unread, learnt: &Learnt) {
    unread.record(learnt).await.unwrap();
}

async fn mark_of(unread: &dyn Unread, user: UserId, group: GroupId) -> Option<ReadMark> {
    unread.marks(user, &[group]).await.unwrap().remove(0)
}

async fn mentioned(unread: &dyn Unread, user: UserId, group: GroupId, above: Position) -> usize {
    let mentions = unread.mentions(user, &[(group, above)]).await;
    let mentions = mentions.unwrap().remove(0);
    assert!(mentions.iter().all(|pos| *pos > above), "{mentions:?}");
    mentions.len()
}

async fn what_was_never_recorded_is_nothing(unread: Subject) {
    let (user, group) = (user(), group());
    assert_eq!(mark_of(&*unread, user, group).await, None);
    assert_eq!(mentioned(&*unread, user, group, Position::START).await, 0);
    record(&*unread, &Learnt::default()).await;
    assert!(unread.marks(user, &[]).await.unwrap().is_empty());
    assert!(unread.mentions(user, &[]).await.unwrap().is_empty());
}

async fn a_member_begins_to_read_at_the_joined_event(unread: Subject) {
    let (user, group) = (user(), group());
    let first = mark(at(2, 41), 30, 7);
    record(&*unread, &learnt_joined(group, user, first)).await;
    assert_eq!(mark_of(&*unread, user, group).await, Some(first));
}

async fn who_joins_again_begins_at_the_newer_event(unread: Subject) {
    let (user, group) = (user(), group());
    let (first, again) = (mark(at(1, 2), 0, 0), mark(at(1, 300), 200, 5));
    for order in [[first, again], [again, first]] {
        let learnt = Learnt {
            joined: order.map(|mark| (group, user, mark)).to_vec(),
            ..Learnt::default()
        };
        record(&*unread, &learnt).await;
        assert_eq!(mark_of(&*unread, user, group).await, Some(again));
    }
    let last = mark(at(2, 41), 30, 5);
    record(&*unread, &learnt_joined(group, user, last)).await;
    assert_eq!(mark_of(&*unread, user, group).await, Some(last));
}

async fn a_joined_event_does_not_move_a_mark_back(unread: Subject) {
    let (user, group) = (user(), group());
    let read = mark(at(1, 20), 15, 1);
    unread.mark_read(user, group, read).await.unwrap();
    record(&*unread, &learnt_joined(group, user, mark(at(1, 5), 3, 1))).await;
    assert_eq!(mark_of(&*unread, user, group).await, Some(read));
}

async fn a_read_mark_only_moves_forward_and_the_standing_one_is_answered(unread: Subject) {
    let (user, group) = (user(), group());
    for (offered, standing) in [
        (mark(at(3, 10), 7, 1), mark(at(3, 10), 7, 1)),
        (mark(at(3, 300), 200, 2), mark(at(3, 300), 200, 2)),
        (mark(at(3, 11), 8, 1), mark(at(3, 300), 200, 2)),
        (mark(at(3, 300), 999, 9), mark(at(3, 300), 200, 2)),
        (mark(at(4, 256), 190, 1), mark(at(4, 256), 190, 1)),
        (mark(at(3, 400), 250, 3), mark(at(4, 256), 190, 1)),
    ] {
        let answer = unread.mark_read(user, group, offered).await.unwrap();
        assert_eq!(answer, standing);
        let read = mark_of(&*unread, user, group).await;
        assert_eq!(read, Some(standing));
    }
}

async fn a_read_mark_never_moves_back_under_many_writers(unread: Subject) {
    let (user, group) = (user(), group());
    let marks: Vec<_> = (1..=20)
        .map(|n: u64| mark(at(1, n * 7 % 20 + 1), n * 7 % 20 + 1, 0))
        .collect();
    let moves = marks
        .iter()
        .map(|mark| unread.mark_read(user, group, *mark));
    for (answer, offered) in join_all(moves).await.into_iter().zip(&marks) {
        assert!(answer.unwrap().pos >= offered.pos);
    }
    let read = mark_of(&*unread, user, group).await;
    assert_eq!(read, Some(mark(at(1, 20), 20, 0)));
}

async fn the_largest_numbers_are_kept(unread: Subject) {
    let (user, group) = (user(), group());
    let last = at(PART_MAX, PART_MAX);
    let read = mark(last, PART_MAX, PART_MAX);
    assert_eq!(unread.mark_read(user, group, read).await.unwrap(), read);
}

async fn marks_come_in_the_order_of_the_groups_and_of_one_user(unread: Subject) {
    let groups: Vec<_> = (0..500).map(|_| group()).collect();
    let (user, other) = (user(), user());
    let joined = groups.iter().zip(1..).skip(100).flat_map(|(group, n)| {
        [
            (*group, user, mark(at(1, n), n, 0)),
            (*group, other, mark(at(1, n), n + 1000, 0)),
        ]
    });
    let learnt = Learnt {
        joined: joined.collect(),
        ..Learnt::default()
    };
    record(&*unread, &learnt).await;
    let mut asked: Vec<_> = groups.iter().rev().copied().collect();
    asked.push(groups[499]);
    let marks = unread.marks(user, &asked).await.unwrap();
    let numbers = (1..=500).rev().chain([500]);
    let expected: Vec<_> = numbers
        .map(|n| (n > 100).then(|| mark(at(1, n), n, 0)))
        .collect();
    assert_eq!(marks, expected);
}

async fn a_mention_counts_while_it_lies_above_the_position(unread: Subject) {
    let (user, group, by) = (user(), group(), user());
    for pos in [at(1, 5), at(1, 300), at(2, 7)] {
        record(&*unread, &learnt_mention(group, user, pos, by)).await;
    }
    for (above, expected) in [
        (Position::START, 3),
        (at(1, 4), 3),
        (at(1, 5), 2),
        (at(1, 300), 1),
        (at(2, 6), 1),
        (at(2, 7), 0),
    ] {
        let count = mentioned(&*unread, user, group, above).await;
        assert_eq!(count, expected, "above {above:?}");
    }
}

async fn a_mention_counts_for_its_user_and_group_only(unread: Subject) {
    let (one, two, group, by) = (user(), user(), group(), user());
    record(&*unread, &learnt_mention(group, one, at(1, 5), by)).await;
    record(&*unread, &learnt_mention(group, two, at(1, 5), by)).await;
    let elsewhere = crate::support::sample::group();
    assert_eq!(mentioned(&*unread, one, group, Position::START).await, 1);
    assert_eq!(mentioned(&*unread, two, group, Position::START).await, 1);
    assert_eq!(
        mentioned(&*unread, one, elsewhere, Position::START).await,
        0
    );
    assert_eq!(mentioned(&*unread, by, group, Position::START).await, 0);
}

async fn a_mention_of_all_counts_for_all_but_its_sender(unread: Subject) {
    let (one, two, group) = (user(), user(), group());
    record(&*unread, &learnt_all(group, at(1, 5), one)).await;
    record(&*unread, &learnt_all(group, at(1, 300), one)).await;
    record(&*unread, &learnt_all(group, at(2, 6), two)).await;
    assert_eq!(mentioned(&*unread, user(), group, Position::START).await, 3);
    assert_eq!(mentioned(&*unread, user(), group, at(1, 5)).await, 2);
    assert_eq!(mentioned(&*unread, one, group, Position::START).await, 1);
    assert_eq!(mentioned(&*unread, two, group, at(1, 300)).await, 0);
}

async fn who_mentions_oneself_is_not_mentioned(unread: Subject) {
    let (user, group) = (user(), group());
    record(&*unread, &learnt_mention(group, user, at(1, 5), user)).await;
    assert_eq!(mentioned(&*unread, user, group, Position::START).await, 0);
}

async fn mentions_of_five_hundred_groups_come_in_their_order(unread: Subject) {
    let groups: Vec<_> = (0..500).map(|_| group()).collect();
    let (user, by) = (user(), user());
    let mention = |group, pos| (group, user, pos, Mention { by, at: AT });
    let learnt = Learnt {
        mentions: groups
            .iter()
            .step_by(2)
            .flat_map(|g| [mention(*g, at(1, 1)), mention(*g, at(1, 3))])
            .collect(),
        mentions_all: groups
            .iter()
            .step_by(5)
            .map(|g| (*g, at(1, 2), by))
            .collect(),
        ..Learnt::default()
    };
    record(&*unread, &learnt).await;
    let above = |n: usize| at(1, if n.is_multiple_of(4) { 1 } else { 0 });
    let mut asked: Vec<_> = groups
        .iter()
        .enumerate()
        .map(|(n, g)| (*g, above(n)))
        .collect();
    asked.push((groups[0], at(1, 2)));
    let mentions = unread.mentions(user, &asked).await.unwrap();
    let counts: Vec<_> = mentions.iter().map(|at| at.len() as u64).collect();
    let personal = |n: usize| match n {
        n if n.is_multiple_of(4) => 1,
        n if n.is_multiple_of(2) => 2,
        _ => 0,
    };
    let mut expected: Vec<_> = (0..500)
        .map(|n: usize| personal(n) + u64::from(n.is_multiple_of(5)))
        .collect();
    expected.push(1);
    assert_eq!(counts, expected);
}

async fn a_batch_recorded_again_changes_nothing(unread: Subject) {
    let (group, one, two) = (group(), user(), user());
    let learnt = Learnt {
        joined: vec![
            (group, one, mark(at(1, 9), 8, 3)),
            (group, two, mark(at(1, 10), 8, 0)),
        ],
        mentions: vec![(group, two, at(1, 11), Mention { by: one, at: AT })],
        mentions_all: vec![(group, at(1, 12), one)],
    };
    record(&*unread, &learnt).await;
    let read = mark(at(1, 11), 9, 0);
    unread.mark_read(two, group, read).await.unwrap();
    let before = snapshot(&*unread, group, &[one, two]).await;
    record(&*unread, &learnt).await;
    assert_eq!(snapshot(&*unread, group, &[one, two]).await, before);
    assert_eq!(before.0[1], Some(read));
    assert_eq!(before.1, [0, 2]);
}

/// All that is kept of these people in this group.
async fn snapshot(
    unread: &dyn Unread,
    group: GroupId,
    users: &[UserId],
) -> (Vec<Option<ReadMark>>, Vec<usize>) {
    let (mut marks, mut mentions) = (Vec::new(), Vec::new());
    for user in users {
        marks.push(mark_of(unread, *user, group).await);
        mentions.push(mentioned(unread, *user, group, Position::START).await);
    }
    (marks, mentions)
}

async fn thousands_of_everything_are_recorded_in_one_call(unread: Subject) {
    let groups: Vec<_> = (0..50).map(|_| group()).collect();
    let users: Vec<_> = (0..50).map(|_| user()).collect();
    let by = user();
    let pairs = || groups.iter().flat_map(|g| users.iter().map(|u| (*g, *u)));
    let learnt = Learnt {
        joined: pairs().map(|(g, u)| (g, u, mark(at(1, 5), 4, 1))).collect(),
        mentions: pairs()
            .map(|(g, u)| (g, u, at(1, 7), Mention { by, at: AT }))
            .collect(),
        mentions_all: groups
            .iter()
            .flat_map(|g| (1..=50).map(|seq| (*g, at(1, seq), by)))
            .collect(),
    };
    record(&*unread, &learnt).await;
    record(&*unread, &learnt).await;
    for user in [users[0], users[49]] {
        let marks = unread.marks(user, &groups).await.unwrap();
        assert_eq!(marks, vec![Some(mark(at(1, 5), 4, 1)); 50]);
        let asked: Vec<_> = groups.iter().map(|g| (*g, at(1, 5))).collect();
        let mentions = unread.mentions(user, &asked).await.unwrap();
        let counts: Vec<_> = mentions.iter().map(Vec::len).collect();
        assert_eq!(counts, [46; 50]);
    }
}

contract!(
    {
        mongo: crate::support::mongo::open_unread,
        embedded: crate::support::embedded::unread_subject,
    },
    [
        what_was_never_recorded_is_nothing,
        a_member_begins_to_read_at_the_joined_event,
        who_joins_again_begins_at_the_newer_event,
        a_joined_event_does_not_move_a_mark_back,
        a_read_mark_only_moves_forward_and_the_standing_one_is_answered,
        a_read_mark_never_moves_back_under_many_writers,
        the_largest_numbers_are_kept,
        marks_come_in_the_order_of_the_groups_and_of_one_user,
        a_mention_counts_while_it_lies_above_the_position,
        a_mention_counts_for_its_user_and_group_only,
        a_mention_of_all_counts_for_all_but_its_sender,
        who_mentions_oneself_is_not_mentioned,
        mentions_of_five_hundred_groups_come_in_their_order,
        a_batch_recorded_again_changes_nothing,
        thousands_of_everything_are_recorded_in_one_call,
    ]
);
