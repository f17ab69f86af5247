//! What [`DeadLetters`] promises.

use std::collections::HashSet;

use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::model::time::Time;
use qunliu::store::consumers::Consumer;
use qunliu::store::dead_letters::{DeadLetters, Letter, LetterId, Page};

use crate::support::fixture::Fixture;
use crate::support::sample::{AT, at, group};

type Subject = Fixture<dyn DeadLetters>;

const PERSIST: Consumer = Consumer::Persist;
const UNREAD: Consumer = Consumer::Unread;

const fn id(consumer: Consumer, group: GroupId, pos: Position) -> LetterId {
    LetterId {
        consumer,
        group,
        pos,
    }
}

async fn keep(letters: &dyn DeadLetters, id: LetterId) {
    letters.keep(id, AT, b"{}", "unreadable").await.unwrap();
}

/// All letters, by pages of two.
async fn all(letters: &dyn DeadLetters, consumer: Consumer, group: Option<GroupId>) -> Vec<Letter> {
    let mut found: Vec<Letter> = Vec::new();
    loop {
        let page = Page {
            consumer,
            group,
            after: found.last().map(|letter| letter.id),
            limit: 2,
        };
        let listed = letters.list(page).await.unwrap();
        assert!(listed.len() <= 2);
        if listed.is_empty() {
            return found;
        }
        found.extend(listed);
    }
}

async fn a_letter_reads_back_as_it_was_kept_first(letters: Subject) {
    let id = id(PERSIST, group(), at(3, 1851));
    let payload = b"\xff\x00 not an event";
    for (at, reason) in [(AT, "unreadable"), (Time::default(), "still unreadable")] {
        letters.keep(id, at, payload, reason).await.unwrap();
    }
    let expected = Letter {
        id,
        at: AT,
        reason: "unreadable".to_owned(),
        bytes: payload.len() as u64,
    };
    assert_eq!(all(&*letters, PERSIST, Some(id.group)).await, [expected]);
    let kept = letters.payload(id).await.unwrap();
    assert_eq!(kept.as_deref(), Some(&payload[..]));
}

async fn a_letter_of_any_size_is_kept(letters: Subject) {
    // Larger than any document MongoDB takes: a dead letter that is refused would stop the log.
    let payload = vec![0xfe; 17 << 20];
    let reason = "很长".repeat(100_000);
    let id = id(UNREAD, group(), at(1, 1));
    letters.keep(id, AT, &payload, &reason).await.unwrap();
    let listed = all(&*letters, UNREAD, Some(id.group)).await;
    assert_eq!(listed[0].bytes, payload.len() as u64);
    assert!(reason.starts_with(&listed[0].reason));
}

async fn pages_meet_each_letter_once(letters: Subject) {
    let groups = [group(), group(), group()];
    let mut kept = HashSet::new();
    for (group, seq) in groups
        .iter()
        .flat_map(|group| [1, 2, 9, 10, 100].map(|seq| (group, seq)))
    {
        kept.insert(id(PERSIST, *group, at(1, seq)));
    }
    for id in &kept {
        keep(&*letters, *id).await;
    }
    let listed = all(&*letters, PERSIST, None).await;
    assert_eq!(listed.len(), kept.len());
    assert_eq!(
        listed
            .iter()
            .map(|letter| letter.id)
            .collect::<HashSet<_>>(),
        kept
    );
}

async fn consumers_and_groups_do_not_mix(letters: Subject) {
    let (group, other) = (group(), group());
    for id in [
        id(PERSIST, group, at(1, 1)),
        id(UNREAD, group, at(1, 1)),
        id(PERSIST, other, at(1, 1)),
    ] {
        keep(&*letters, id).await;
    }
    let listed = all(&*letters, PERSIST, Some(group)).await;
    let ids: Vec<_> = listed.iter().map(|letter| letter.id).collect();
    assert_eq!(ids, [id(PERSIST, group, at(1, 1))]);
    assert_eq!(all(&*letters, UNREAD, None).await.len(), 1);
    assert!(all(&*letters, UNREAD, Some(other)).await.is_empty());
}

async fn what_was_removed_is_gone_and_nothing_else(letters: Subject) {
    let group = group();
    let (gone, stays) = (id(PERSIST, group, at(1, 1)), id(PERSIST, group, at(1, 10)));
    keep(&*letters, gone).await;
    keep(&*letters, stays).await;
    for _ in 0..2 {
        letters.remove(gone).await.unwrap();
    }
    assert_eq!(letters.payload(gone).await.unwrap(), None);
    let listed = all(&*letters, PERSIST, Some(group)).await;
    assert_eq!(listed[0].id, stays);
    assert_eq!(listed.len(), 1);
}

contract!(
    {
        mongo: crate::support::mongo::open_dead_letters,
        embedded: crate::support::embedded::dead_letters_subject,
    },
    [
        a_letter_reads_back_as_it_was_kept_first,
        a_letter_of_any_size_is_kept,
        pages_meet_each_letter_once,
        consumers_and_groups_do_not_mix,
        what_was_removed_is_gone_and_nothing_else,
    ]
);
