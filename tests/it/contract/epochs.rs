//! What [`Epochs`] promises: fences that one caller moves, tables that grow at their end.

use futures::future::join_all;
use qunliu::model::epoch::{EpochTable, Row};
use qunliu::model::id::Partition;
use qunliu::model::position::PART_MAX;
use qunliu::store::epochs::{Epochs, Fence};

use crate::support::fixture::Fixture;
use crate::support::sample::group;

type Subject = Fixture<dyn Epochs>;

const P: Partition = Partition(0xa0);

fn fence(epoch: u64, history: &str) -> Fence {
    Fence {
        epoch,
        history: history.to_owned(),
    }
}

fn row(epoch: u64, start: u64, count: u64) -> Row {
    Row::from((epoch, start, count))
}

async fn a_partition_has_no_fence_before_its_first(epochs: Subject) {
    assert_eq!(epochs.fence(P).await.unwrap(), None);
}

async fn the_first_raise_sets_the_fence(epochs: Subject) {
    let first = fence(1, "h1");
    assert_eq!(epochs.raise(P, None, &first).await.unwrap(), first);
    assert_eq!(epochs.fence(P).await.unwrap(), Some(first));
}

async fn a_raise_moves_the_fence_from_exactly_the_expected_one(epochs: Subject) {
    let (first, second) = (fence(1, "h1"), fence(2, "h2"));
    epochs.raise(P, None, &first).await.unwrap();
    let raised = epochs.raise(P, Some(&first), &second).await.unwrap();
    assert_eq!(raised, second);
    assert_eq!(epochs.fence(P).await.unwrap(), Some(second));
}

async fn a_raise_under_the_same_history_is_a_raise(epochs: Subject) {
    let (first, second) = (fence(1, "h1"), fence(2, "h1"));
    epochs.raise(P, None, &first).await.unwrap();
    let raised = epochs.raise(P, Some(&first), &second).await.unwrap();
    assert_eq!(raised, second);
}

async fn a_raise_from_another_fence_answers_the_standing_one(epochs: Subject) {
    let standing = fence(4, "h4");
    epochs.raise(P, None, &standing).await.unwrap();
    let (other_epoch, other_history) = (fence(3, "h4"), fence(4, "h3"));
    for from in [None, Some(&other_epoch), Some(&other_history)] {
        let answer = epochs.raise(P, from, &fence(5, "h5")).await.unwrap();
        assert_eq!(answer, standing, "from {from:?}");
    }
    assert_eq!(epochs.fence(P).await.unwrap(), Some(standing));
}

async fn a_raise_from_a_fence_that_never_stood_writes_nothing(epochs: Subject) {
    let raised = epochs
        .raise(P, Some(&fence(3, "h3")), &fence(4, "h4"))
        .await;
    assert!(raised.is_err(), "there is no fence to answer: {raised:?}");
    assert_eq!(epochs.fence(P).await.unwrap(), None);
}

/// Twenty callers raise from the same fence; each is answered the one fence that stands.
async fn race(epochs: &dyn Epochs, from: Option<&Fence>, epoch: u64) -> Fence {
    let wanted: Vec<_> = (0..20).map(|n| fence(epoch, &format!("h{n}"))).collect();
    let raises = wanted.iter().map(|to| epochs.raise(P, from, to));
    let answers: Vec<_> = join_all(raises).await.into_iter().collect();
    let standing = epochs.fence(P).await.unwrap().unwrap();
    assert!(wanted.contains(&standing));
    for answer in answers {
        assert_eq!(answer.unwrap(), standing);
    }
    standing
}

async fn one_of_many_racing_raises_wins_and_all_are_answered_it(epochs: Subject) {
    let first = race(&*epochs, None, 1).await;
    let second = race(&*epochs, Some(&first), 2).await;
    assert_eq!(second.epoch, 2);
}

async fn the_fences_of_partitions_are_independent(epochs: Subject) {
    for partition in [0, 1, 127, 128, 255] {
        let first = fence(u64::from(partition) + 1, "h");
        epochs
            .raise(Partition(partition), None, &first)
            .await
            .unwrap();
    }
    for partition in [0, 1, 127, 128, 255] {
        let standing = epochs.fence(Partition(partition)).await.unwrap();
        assert_eq!(standing, Some(fence(u64::from(partition) + 1, "h")));
    }
}

async fn a_fence_is_confirmed_while_it_stands_and_never_again(epochs: Subject) {
    assert!(
        !epochs.confirm(&[(P, 1)]).await.unwrap(),
        "before the first"
    );
    let (first, second) = (fence(1, "h1"), fence(2, "h2"));
    epochs.raise(P, None, &first).await.unwrap();
    assert!(epochs.confirm(&[(P, 1)]).await.unwrap());
    assert!(
        epochs.confirm(&[(P, 1)]).await.unwrap(),
        "as often as asked"
    );
    assert!(!epochs.confirm(&[(P, 2)]).await.unwrap(), "not yet raised");
    epochs.raise(P, Some(&first), &second).await.unwrap();
    assert!(
        !epochs.confirm(&[(P, 1)]).await.unwrap(),
        "raised meanwhile"
    );
    assert!(epochs.confirm(&[(P, 2)]).await.unwrap());
}

async fn confirming_does_not_move_the_fence(epochs: Subject) {
    let (first, second) = (fence(1, "h1"), fence(2, "h2"));
    epochs.raise(P, None, &first).await.unwrap();
    epochs.confirm(&[(P, 1)]).await.unwrap();
    assert_eq!(epochs.fence(P).await.unwrap(), Some(first.clone()));
    let raised = epochs.raise(P, Some(&first), &second).await.unwrap();
    assert_eq!(raised, second);
}

async fn a_group_never_opened_has_an_empty_table(epochs: Subject) {
    let tables = epochs.tables(&[group()]).await.unwrap();
    assert_eq!(tables, [EpochTable::default()]);
    assert!(epochs.tables(&[]).await.unwrap().is_empty());
}

async fn a_row_is_added_after_exactly_the_last_one(epochs: Subject) {
    let group = group();
    let rows = [row(1, 1, 0), row(3, 11, 9), row(4, 8, 6)];
    assert!(epochs.add_row(group, None, rows[0]).await.unwrap());
    assert!(epochs.add_row(group, Some(rows[0]), rows[1]).await.unwrap());
    assert!(epochs.add_row(group, Some(rows[1]), rows[2]).await.unwrap());
    let tables = epochs.tables(&[group]).await.unwrap();
    assert_eq!(tables, [rows.into_iter().collect()]);
}

async fn a_row_after_another_than_the_last_is_not_added(epochs: Subject) {
    let group = group();
    let rows = [row(1, 1, 0), row(3, 11, 9)];
    let missing = epochs.add_row(group, Some(rows[0]), rows[1]).await.unwrap();
    assert!(!missing, "there is no last row");
    epochs.add_row(group, None, rows[0]).await.unwrap();
    epochs.add_row(group, Some(rows[0]), rows[1]).await.unwrap();
    let others = [
        None,
        Some(rows[0]),
        Some(row(3, 11, 8)),
        Some(row(3, 10, 9)),
        Some(row(2, 11, 9)),
    ];
    for after in others {
        let added = epochs.add_row(group, after, row(5, 20, 15)).await.unwrap();
        assert!(!added, "after {after:?}");
    }
    let tables = epochs.tables(&[group]).await.unwrap();
    assert_eq!(tables, [rows.into_iter().collect()]);
}

async fn one_of_many_racing_rows_is_added(epochs: Subject) {
    let group = group();
    let mut after = None;
    for epoch in 1..=3 {
        let rows: Vec<_> = (1..=20).map(|start| row(epoch, start, 0)).collect();
        let adds = rows.iter().map(|row| epochs.add_row(group, after, *row));
        let added = join_all(adds).await;
        let winners: Vec<_> = rows
            .iter()
            .zip(added)
            .filter_map(|(row, added)| added.unwrap().then_some(*row))
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let table = epochs.tables(&[group]).await.unwrap().remove(0);
        assert_eq!(table.last(), Some(winners[0]));
        after = table.last();
    }
}

async fn tables_come_in_the_order_of_the_groups(epochs: Subject) {
    let groups: Vec<_> = (0..600).map(|_| group()).collect();
    for (group, start) in groups.iter().zip(1..).step_by(60) {
        let added = epochs.add_row(*group, None, row(1, start, 0)).await;
        assert!(added.unwrap());
    }
    let mut asked: Vec<_> = groups.iter().rev().copied().collect();
    asked.push(groups[60]);
    let tables = epochs.tables(&asked).await.unwrap();
    let starts: Vec<_> = tables
        .iter()
        .map(|table| table.last().map(|row| row.start))
        .collect();
    let mut expected: Vec<_> = (1..=600)
        .rev()
        .map(|start| (start % 60 == 1).then_some(start))
        .collect();
    expected.push(Some(61));
    assert_eq!(starts, expected);
}

async fn the_largest_numbers_are_kept(epochs: Subject) {
    let largest = fence(PART_MAX, &"h".repeat(64));
    epochs.raise(P, None, &largest).await.unwrap();
    assert_eq!(epochs.fence(P).await.unwrap(), Some(largest));
    assert!(epochs.confirm(&[(P, PART_MAX)]).await.unwrap());
    let (group, last) = (group(), row(PART_MAX, PART_MAX, PART_MAX));
    epochs.add_row(group, None, last).await.unwrap();
    let tables = epochs.tables(&[group]).await.unwrap();
    assert_eq!(tables[0].last(), Some(last));
}

contract!(
    {
        mongo: crate::support::mongo::open_epochs,
        embedded: crate::support::embedded::epochs_subject,
    },
    [
        a_partition_has_no_fence_before_its_first,
        the_first_raise_sets_the_fence,
        a_raise_moves_the_fence_from_exactly_the_expected_one,
        a_raise_under_the_same_history_is_a_raise,
        a_raise_from_another_fence_answers_the_standing_one,
        a_raise_from_a_fence_that_never_stood_writes_nothing,
        one_of_many_racing_raises_wins_and_all_are_answered_it,
        the_fences_of_partitions_are_independent,
        a_fence_is_confirmed_while_it_stands_and_never_again,
        confirming_does_not_move_the_fence,
        a_group_never_opened_has_an_empty_table,
        a_row_is_added_after_exactly_the_last_one,
        a_row_after_another_than_the_last_is_not_added,
        one_of_many_racing_rows_is_added,
        tables_come_in_the_order_of_the_groups,
        the_largest_numbers_are_kept,
    ]
);
