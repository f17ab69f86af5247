//! What [`Cards`] promises, where cards are kept.

use std::any::Any;
use std::sync::Arc;

use qunliu::model::group::Membership;
use qunliu::model::id::{GroupId, MerchantId, UserId};
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::model::user::User;
use qunliu::store::cards::{Card, CardGroup, Cards};
use qunliu::store::unread::{Learnt, Mention};

use crate::support::logs::{AT, user};
use crate::support::sample::{at, group};

/// Cards, and what must live as long as they are used.
pub(crate) struct Subject {
    pub(crate) cards: Arc<dyn Cards>,
    pub(crate) _keep: Box<dyn Any + Send>,
}

impl Subject {
    /// A card of two groups, filled.
    async fn filled(&self) -> Card {
        let groups = [group(), group()];
        let begun = self.cards.begin(&groups).await.unwrap();
        let groups = groups.into_iter().zip(begun);
        let card = Card {
            user: User {
                id: user(),
                name: "han.mei".to_owned(),
                display_name: "韩 梅 梅".to_owned(),
            },
            groups: groups.map(|(group, begun)| seat(group, begun)).collect(),
        };
        let version = self.version(card.user.id).await;
        assert!(self.cards.fill(version, &card).await.unwrap());
        card
    }

    async fn version(&self, user: UserId) -> u64 {
        self.cards.get(user).await.unwrap().version.unwrap()
    }

    /// The card of a user, its groups in the order of `like`.
    async fn get(&self, like: &Card) -> Option<Card> {
        let mut card = self.cards.get(like.user.id).await.unwrap().card?;
        let place = |id: GroupId| like.groups.iter().position(|group| group.group == id);
        card.groups.sort_by_key(|group| place(group.group));
        for group in &mut card.groups {
            group.mentions.sort_unstable();
        }
        Some(card)
    }

    async fn note(&self, mentions: &[(GroupId, UserId, Position)]) {
        let mention = Mention { by: user(), at: AT };
        let mentions = mentions.iter();
        let learnt = Learnt {
            mentions: mentions
                .map(|(g, u, pos)| (*g, *u, *pos, mention))
                .collect(),
            ..Learnt::default()
        };
        self.cards.note(&learnt).await.unwrap();
    }

    async fn note_all(&self, group: GroupId, pos: Position, by: UserId) {
        let learnt = Learnt {
            mentions_all: vec![(group, pos, by)],
            ..Learnt::default()
        };
        self.cards.note(&learnt).await.unwrap();
    }
}

const fn mark(seq: u64) -> ReadMark {
    ReadMark {
        pos: at(1, seq),
        totals: Totals { count: seq, own: 2 },
    }
}

fn seat(group: GroupId, begun: String) -> CardGroup {
    CardGroup {
        group,
        members: 12,
        membership: Membership {
            merchant: MerchantId::generate(AT),
            role: Role::Admin,
            joined: Some(at(1, 2)),
        },
        rights: at(1, 3),
        mark: mark(10),
        mentions: vec![at(1, 12)],
        begun,
    }
}

async fn a_card_is_answered_as_it_was_filled(subject: Subject) {
    let card = subject.filled().await;
    assert_eq!(subject.get(&card).await, Some(card.clone()));
    let nobody = subject.cards.get(user()).await.unwrap();
    assert_eq!(nobody.card, None);
    assert_eq!(nobody.version, Some(0));
}

async fn a_mark_that_was_made_is_known_for_mending_whatever_comes_of_the_next(subject: Subject) {
    let card = subject.filled().await;
    let (cards, whose, group) = (&subject.cards, card.user.id, card.groups[0].group);
    let highest = async |user, group: GroupId| {
        let marks = cards.marks(&[group.partition()]).await.unwrap();
        let own = marks
            .into_iter()
            .filter(|(u, g, _)| (*u, *g) == (user, group));
        own.map(|(_, _, mark)| mark.pos).max()
    };
    assert_eq!(highest(whose, group).await, Some(at(1, 10)));
    // One that nobody told the end of, and one that was overtaken.
    let overtaken = cards.begin_mark(whose, group).await.unwrap();
    assert_eq!(highest(whose, group).await, Some(at(1, 10)));
    let last = cards.begin_mark(whose, group).await.unwrap();
    let told = cards.end_mark(whose, group, overtaken, mark(11));
    told.await.unwrap();
    assert_eq!(highest(whose, group).await, Some(at(1, 11)));
    cards.end_mark(whose, group, last, mark(12)).await.unwrap();
    assert_eq!(highest(whose, group).await, Some(at(1, 12)));
    // What is changed and filled anew from a message store that was put back.
    let older = subject.get(&card).await;
    cards.hold(whose).await.unwrap();
    cards.let_go(whose).await.unwrap();
    assert_eq!(highest(whose, group).await, Some(at(1, 12)));
    let mut older = older.expect("a card with a mark");
    older.groups[0].mark = mark(7);
    let version = subject.version(whose).await;
    assert!(cards.fill(version, &older).await.unwrap());
    assert_eq!(highest(whose, group).await, Some(at(1, 12)));
    assert_eq!(subject.get(&older).await.unwrap().groups[0].mark, mark(7));
    let late = cards.begin_mark(whose, group).await.unwrap();
    cards.end_mark(whose, group, late, mark(9)).await.unwrap();
    assert_eq!(highest(whose, group).await, Some(at(1, 12)));
    // Of whom there is no card to count from.
    let stranger = user();
    let only = cards.begin_mark(stranger, group).await.unwrap();
    assert_eq!(highest(stranger, group).await, None);
    cards
        .end_mark(stranger, group, only, mark(5))
        .await
        .unwrap();
    assert_eq!(highest(stranger, group).await, Some(at(1, 5)));
}

async fn a_mark_that_moves_is_not_on_the_card_and_then_stands(subject: Subject) {
    let mut card = subject.filled().await;
    let (who, group) = (card.user.id, card.groups[0].group);
    let number = subject.cards.begin_mark(who, group).await.unwrap();
    assert_eq!(subject.get(&card).await, None);
    // A mention that comes meanwhile is above the mark.
    subject.note(&[(group, who, at(1, 14))]).await;
    let told = subject.cards.end_mark(who, group, number, mark(13));
    told.await.unwrap();
    (card.groups[0].mark, card.groups[0].mentions) = (mark(13), vec![at(1, 14)]);
    assert_eq!(subject.get(&card).await, Some(card));
}

async fn of_two_marks_that_overlap_the_later_counts(subject: Subject) {
    let mut card = subject.filled().await;
    let (who, group) = (card.user.id, card.groups[0].group);
    let cards = &subject.cards;
    let one = cards.begin_mark(who, group).await.unwrap();
    let other = cards.begin_mark(who, group).await.unwrap();
    cards.end_mark(who, group, other, mark(15)).await.unwrap();
    cards.end_mark(who, group, one, mark(13)).await.unwrap();
    (card.groups[0].mark, card.groups[0].mentions) = (mark(15), vec![]);
    assert_eq!(subject.get(&card).await, Some(card));
}

async fn what_was_read_before_something_was_told_does_not_fill_a_card(subject: Subject) {
    let card = subject.filled().await;
    let (who, group) = (card.user.id, card.groups[0].group);
    let cards = &subject.cards;
    let version = subject.version(who).await;
    subject.note(&[(group, who, at(1, 14))]).await;
    assert!(!cards.fill(version, &card).await.unwrap(), "a mention");
    let version = subject.version(who).await;
    let number = cards.begin_mark(who, group).await.unwrap();
    assert!(!cards.fill(version, &card).await.unwrap(), "a mark begins");
    let version = subject.version(who).await;
    assert!(!cards.fill(version, &card).await.unwrap(), "a mark moves");
    cards.end_mark(who, group, number, mark(20)).await.unwrap();
    let version = subject.version(who).await;
    assert!(cards.fill(version, &card).await.unwrap());
    // Of a card that was never there, too.
    let stranger = user();
    let version = subject.version(stranger).await;
    subject.note(&[(group, stranger, at(1, 15))]).await;
    let mut theirs = card.clone();
    theirs.user.id = stranger;
    assert!(!cards.fill(version, &theirs).await.unwrap());
}

async fn while_a_change_is_under_way_a_card_is_empty_and_stays_so(subject: Subject) {
    let card = subject.filled().await;
    let (who, cards) = (card.user.id, &subject.cards);
    cards.hold(who).await.unwrap();
    cards.hold(who).await.unwrap();
    cards.let_go(who).await.unwrap();
    let kept = cards.get(who).await.unwrap();
    assert_eq!(kept.card, None);
    let filled = cards.fill(kept.version.unwrap(), &card).await;
    assert!(!filled.unwrap(), "another change goes on");
    let during = subject.version(who).await;
    cards.let_go(who).await.unwrap();
    assert!(
        !cards.fill(during, &card).await.unwrap(),
        "read before the end"
    );
    let version = subject.version(who).await;
    assert!(cards.fill(version, &card).await.unwrap());
    assert_eq!(subject.get(&card).await, Some(card));
}

async fn mentions_of_all_reach_all_cards_but_the_own(subject: Subject) {
    let mut card = subject.filled().await;
    let (who, group) = (card.user.id, card.groups[1].group);
    for (seq, by) in [(9, user()), (15, user()), (16, who), (15, user())] {
        subject.note_all(group, at(1, seq), by).await;
    }
    card.groups[1].mentions = vec![at(1, 12), at(1, 15)];
    assert_eq!(subject.get(&card).await, Some(card));
}

async fn of_more_mentions_than_are_kept_the_store_is_asked(subject: Subject) {
    let card = subject.filled().await;
    let (who, group) = (card.user.id, card.groups[0].group);
    for seq in 13..120 {
        subject.note(&[(group, who, at(1, seq))]).await;
    }
    assert_eq!(subject.get(&card).await, None);
    let card = subject.filled().await;
    let group = card.groups[0].group;
    for seq in 13..120 {
        subject.note_all(group, at(1, seq), user()).await;
    }
    assert_eq!(subject.get(&card).await, None);
}

contract!({ redis: crate::support::redis::cards_subject }, [
    a_card_is_answered_as_it_was_filled,
    a_mark_that_moves_is_not_on_the_card_and_then_stands,
    a_mark_that_was_made_is_known_for_mending_whatever_comes_of_the_next,
    of_two_marks_that_overlap_the_later_counts,
    what_was_read_before_something_was_told_does_not_fill_a_card,
    while_a_change_is_under_way_a_card_is_empty_and_stays_so,
    mentions_of_all_reach_all_cards_but_the_own,
    of_more_mentions_than_are_kept_the_store_is_asked,
]);
