//! The outbox: what is promised with a change, in which order it is due, and what a note of its
//! position does.

use std::future::Future;
use std::task::Poll;

use qunliu::model::client_id::ClientId;
use qunliu::model::event::Content;
use qunliu::model::position::Position;
use qunliu::model::role::Role;

use super::{accounts, add, append, at, founder, group, new_group, only_row, pos, rows};
use crate::support::tables::Fresh;

async fn rows_are_due_in_the_order_of_decision(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann]).await;
    let renamed = only_row(
        directory
            .rename_group(id, owner, "2 群", at(9))
            .await
            .unwrap(),
    );
    let [added] = <[_; 1]>::try_from(add(&*directory, id, owner, ben, Role::Member).await).unwrap();
    let removed = directory
        .remove_member(id, owner, ann, Role::Member, at(8))
        .await;
    let removed = only_row(removed.unwrap());
    let everything = [renamed, added.clone(), removed.clone()];
    assert_eq!(directory.due(at(100), 10).await.unwrap(), everything);
    assert_eq!(directory.due(at(100), 2).await.unwrap(), everything[..2]);
    directory.mark_appended(added.id, pos(3)).await.unwrap();
    let left = [everything[0].clone(), removed];
    assert_eq!(directory.other().due(at(100), 10).await.unwrap(), left);
}

async fn only_rows_decided_before_are_due(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let (early, late) = (
        new_group(merchant, owner, &[]),
        new_group(merchant, owner, &[]),
    );
    let early = rows(directory.create_group(early).await.unwrap());
    let late = super::NewGroup { at: at(5), ..late };
    directory.create_group(late).await.unwrap();
    assert_eq!(directory.due(at(1), 10).await.unwrap(), []);
    assert_eq!(directory.due(at(5), 10).await.unwrap(), early);
    assert_eq!(directory.due(at(6), 10).await.unwrap().len(), 2);
}

async fn a_row_is_not_due_before_an_older_one_of_its_group(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    // Two nodes decided, and the clock of the first is ahead.
    let first = directory
        .rename_group(id, owner, "2 群", at(9))
        .await
        .unwrap();
    let first = only_row(first);
    directory
        .rename_group(id, owner, "3 群", at(5))
        .await
        .unwrap();
    assert_eq!(directory.due(at(7), 10).await.unwrap(), []);
    directory.mark_appended(first.id, pos(2)).await.unwrap();
    assert_eq!(directory.due(at(7), 10).await.unwrap().len(), 1);
}

async fn older_promises_about_the_same_person_come_first(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann, ben]).await;
    let removed = directory
        .remove_member(id, owner, ann, Role::Member, at(3))
        .await;
    let removed = only_row(removed.unwrap());
    let appointed = directory
        .set_role(id, owner, ben, Role::Member, Role::Admin, at(3))
        .await;
    let appointed = only_row(appointed.unwrap());
    let back = add(&*directory, id, owner, ann, Role::Member).await;
    assert_eq!(back.len(), 2);
    assert_eq!(back[0], removed, "the log must not end with it");
    let lowered = directory
        .set_role(id, owner, ben, Role::Admin, Role::Guest, at(4))
        .await;
    assert_eq!(rows(lowered.unwrap())[0], appointed);
    directory.mark_appended(appointed.id, pos(4)).await.unwrap();
    let name = only_row(
        directory
            .rename_group(id, owner, "2 群", at(5))
            .await
            .unwrap(),
    );
    let renamed = rows(
        directory
            .rename_group(id, owner, "3 群", at(6))
            .await
            .unwrap(),
    );
    assert_eq!((renamed.len(), &renamed[0]), (2, &name));
}

async fn noting_again_changes_nothing(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let added = add(&*directory, id, owner, ann, Role::Member).await;
    for _ in 0..2 {
        append(&*directory, &added, 7).await;
    }
    append(&*directory, &added, 6).await;
    let standing = directory.membership(id, ann).await.unwrap().unwrap();
    assert_eq!(standing.joined, Some(pos(7)), "a lower one was overtaken");
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].members, 2);
    directory
        .mark_appended(ClientId::random(), pos(1))
        .await
        .unwrap();
}

async fn a_row_appended_again_after_a_loss_moves_its_member(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let added = add(&*directory, id, owner, ann, Role::Member).await;
    append(&*directory, &added, 7).await;
    let again = Position::new(2, 5);
    directory.mark_appended(added[0].id, again).await.unwrap();
    let standing = directory.membership(id, ann).await.unwrap().unwrap();
    assert_eq!(standing.joined, Some(again));
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].members, 2);
}

async fn rows_whose_events_died_are_due_again_and_their_members_stay(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let kept = add(&*directory, id, owner, ann, Role::Member).await;
    append(&*directory, &kept, 4).await;
    let died = add(&*directory, id, owner, ben, Role::Member).await;
    append(&*directory, &died, 5).await;
    let elsewhere = group(&*directory, merchant, owner, &[ann, ben]).await;
    let row = Position::new(2, 5);
    assert_eq!(directory.cut_off(id, row).await.unwrap(), 1);
    assert_eq!(directory.due(at(100), 10).await.unwrap(), died);
    assert_eq!(directory.cut_off(id, row).await.unwrap(), 0);
    let standing = directory.membership(id, ben).await.unwrap().unwrap();
    assert_eq!(
        standing.joined,
        Some(pos(5)),
        "nobody ceases to be a member"
    );

    directory.mark_appended(died[0].id, row).await.unwrap();
    let standing = directory.membership(id, ben).await.unwrap().unwrap();
    assert_eq!(standing.joined, Some(row));
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].members, 3);
    assert_eq!(directory.cut_off(id, row).await.unwrap(), 0, "it counts");
    assert_eq!(directory.groups(&[elsewhere]).await.unwrap()[0].members, 3);
}

async fn who_comes_back_begins_where_they_came_back(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[]).await;
    let first = add(&*directory, id, owner, ann, Role::Member).await;
    append(&*directory, &first, 2).await;
    let removed = directory
        .remove_member(id, owner, ann, Role::Member, at(3))
        .await;
    append(&*directory, &rows(removed.unwrap()), 3).await;
    let second = add(&*directory, id, owner, ann, Role::Guest).await;
    // A late note about the first membership, as after a loss.
    directory
        .mark_appended(first[0].id, Position::new(2, 2))
        .await
        .unwrap();
    assert_eq!(directory.membership(id, ann).await.unwrap(), None);
    append(&*directory, &second, 9).await;
    let standing = directory.membership(id, ann).await.unwrap().unwrap();
    assert_eq!(
        (standing.role, standing.joined),
        (Role::Guest, Some(pos(9)))
    );
    assert_eq!(directory.groups(&[id]).await.unwrap()[0].members, 2);
}

async fn a_cancelled_change_is_whole_or_nothing(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann] = accounts(&*directory).await;
    for polls in 1..40 {
        let new = new_group(merchant, owner, &[ann]);
        poll_times(directory.create_group(new.clone()), polls).await;
        // A commit may land between two of these reads, and is then seen by the later ones.
        let exists = async || directory.groups(&[new.id]).await.unwrap().len() == 1;
        let before = exists().await;
        let due = directory.due(at(100), 1000).await.unwrap();
        let promised = due.iter().filter(|row| row.group == new.id).count();
        assert!(matches!(promised, 0 | 2), "{promised} after {polls} polls");
        assert!(promised == 2 || !before, "after {polls} polls");
        assert!(promised == 0 || exists().await, "after {polls} polls");
    }
    let whole = new_group(merchant, owner, &[ann]);
    assert_eq!(rows(directory.create_group(whole).await.unwrap()).len(), 2);
}

/// Polls a future at most `times` times, each time that it woke, and drops it.
async fn poll_times(future: impl Future, times: usize) {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

async fn each_content_reads_back(directory: Fresh) {
    let (owner, merchant) = founder(&*directory).await;
    let [ann, ben] = accounts(&*directory).await;
    let id = group(&*directory, merchant, owner, &[ann, ben]).await;
    let mut promised = Vec::new();
    promised.extend(rows(
        directory
            .rename_group(id, owner, "'\"\\ 群", at(3))
            .await
            .unwrap(),
    ));
    let removed = directory
        .remove_member(id, owner, ann, Role::Member, at(3))
        .await;
    promised.extend(rows(removed.unwrap()));
    let left = directory
        .remove_member(id, ben, ben, Role::Member, at(3))
        .await;
    promised.extend(rows(left.unwrap()));
    assert_eq!(directory.due(at(100), 10).await.unwrap(), promised);
    let is_settings = |content: &Content| matches!(content, Content::Settings { .. });
    assert!(is_settings(&promised[0].content));
}

contract!(
    {
        embedded: crate::support::sqlite::open_directory,
        postgres: crate::support::postgres::open_directory,
    },
    [
        rows_are_due_in_the_order_of_decision,
        only_rows_decided_before_are_due,
        a_row_is_not_due_before_an_older_one_of_its_group,
        older_promises_about_the_same_person_come_first,
        noting_again_changes_nothing,
        a_row_appended_again_after_a_loss_moves_its_member,
        rows_whose_events_died_are_due_again_and_their_members_stay,
        who_comes_back_begins_where_they_came_back,
        a_cancelled_change_is_whole_or_nothing,
        each_content_reads_back,
    ]
);
