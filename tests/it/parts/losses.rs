//! What was lost is told apart from what was not: in pages, counts, read marks and re-sends. Every
//! position of an older epoch is judged by the epoch table, also while the message store lags.

use qunliu::model::epoch::{EpochTable, Row};
use qunliu::model::event::{Entry, Fixed};
use qunliu::model::id::{GroupId, UserId};
use qunliu::model::position::Position;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::pipeline::append::Placed;
use qunliu::store::counts::{Counts, Marked};
use qunliu::store::epochs::Fence;
use qunliu::store::history::History;
use qunliu::store::log::{Open, Opened, Prepared};

use super::{Node, first};
use crate::support::embedded::open;
use crate::support::folder::Folder;
use crate::support::logs::{AT, text, user};
use crate::support::sample::{at, group};

/// A group of two whose log lost its end: `[1,1]`, `[1,2]` (own) and `[1,3]` stayed, `[1,4]` (own)
/// and `[1,5]` died, and epoch 2 began at 4 with `[2,4]` and `[2,5]` (own).
struct Lost {
    node: Node,
    group: GroupId,
    member: UserId,
    /// What was sent in epoch 1.
    sent: Vec<Fixed>,
}

impl Lost {
    async fn new() -> Self {
        let mut lost = Self {
            node: Node::new().await,
            group: group(),
            member: user(),
            sent: Vec::new(),
        };
        let other = user();
        for own in [false, true, false, true, false] {
            let fixed = text(if own { lost.member } else { other }, "在吗");
            lost.sent.push(fixed.clone());
            lost.node.append(lost.group, fixed).await;
        }
        let read = lost.mark(&lost.counts(), at(1, 5)).await.unwrap();
        let unread = &lost.node.stores.unread;
        unread
            .mark_read(lost.member, lost.group, read)
            .await
            .unwrap();
        lost.lose(vec![(lost.member, 1), (other, 2)]).await;
        lost.say(other).await;
        lost.say(lost.member).await;
        lost
    }

    async fn say(&self, sender: UserId) {
        self.node.append(self.group, text(sender, "在吗")).await;
    }

    /// Epoch 2 begins at 4, after three messages.
    async fn lose(&self, own: Vec<(UserId, u64)>) {
        let Fence { epoch, history } = self.node.raise(self.group).await;
        let row = Row::from((epoch, 4, 3));
        let last = self.node.history.table(self.group).await.unwrap().last();
        let epochs = &self.node.stores.epochs;
        assert!(epochs.add_row(self.group, last, row).await.unwrap());
        let log = &self.node.stores.log;
        let prepared = log.prepare(self.group, &history, epoch).await.unwrap();
        let Prepared::Ready { top, .. } = prepared else {
            panic!("not ready: {prepared:?}");
        };
        let opened = log.open(Open {
            group: self.group,
            history,
            epoch,
            start: row.start,
            count: row.count,
            at: AT,
            stored: at(1, 3),
            own: Some(own),
            expected_top: top,
            table: last.into_iter().chain([row]).collect(),
        });
        assert_eq!(opened.await.unwrap(), Opened::Yes);
    }

    fn counts(&self) -> Counts {
        let stores = &self.node.stores;
        Counts::new(
            stores.log.clone(),
            stores.messages.clone(),
            stores.unread.clone(),
            self.node.history.clone(),
        )
    }

    async fn mark(&self, counts: &Counts, pos: Position) -> Option<ReadMark> {
        match counts.mark_at(self.member, self.group, pos).await.unwrap() {
            Marked::At(mark) => Some(mark),
            Marked::Nowhere => None,
            Marked::LogWentBack => panic!("nothing was lost since"),
        }
    }
}

const fn mark(pos: Position, count: u64, own: u64) -> ReadMark {
    ReadMark {
        pos,
        totals: Totals { count, own },
    }
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.pos).collect()
}

#[tokio::test]
async fn pages_hold_what_counts_and_nothing_else() {
    let lost = Lost::new().await;
    let (history, group) = (&lost.node.history, lost.group);
    let counts = [at(1, 1), at(1, 2), at(1, 3), at(2, 4), at(2, 5)];
    // The reader may know nothing of the epochs yet.
    let mut table = EpochTable::default();
    let up = history.after(group, &mut table, Position::START, None, 9);
    assert_eq!(positions(&up.await.unwrap()), counts);
    let mut table = EpochTable::default();
    let down = history.before(group, &mut table, None, 9);
    assert_eq!(positions(&down.await.unwrap()), counts);
    for (pos, stands) in [(at(1, 3), true), (at(1, 4), false), (at(2, 4), true)] {
        let found = history.at(group, pos).await.unwrap();
        assert_eq!(found.is_some(), stands, "{pos}");
    }
}

#[tokio::test]
async fn what_was_lost_is_appended_again_and_what_was_not_is_a_repeat() {
    let lost = Lost::new().await;
    let send = async |index: usize| {
        let request = first(lost.group, lost.sent[index].clone());
        lost.node.appender.append(&request).await.unwrap()
    };
    let (kept, died) = (send(1).await, send(3).await);
    assert!(
        matches!(kept, Placed::Repeat(repeat) if repeat.pos == at(1, 2)),
        "{kept:?}"
    );
    assert!(
        matches!(died, Placed::New(receipt) if receipt.pos == at(2, 6)),
        "{died:?}"
    );
    let again = send(3).await;
    assert!(
        matches!(again, Placed::Repeat(repeat) if repeat.pos == at(2, 6)),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_mark_in_what_was_lost_counts_from_where_it_was_cut() {
    let lost = Lost::new().await;
    let counts = lost.counts().of(lost.member, &[lost.group]).await.unwrap();
    assert_eq!(counts[0].head.pos, at(2, 5));
    assert_eq!(counts[0].read, at(1, 3), "the last that stayed");
    assert_eq!(
        counts[0].unread, 1,
        "the other's one message of the new epoch"
    );
}

#[tokio::test]
async fn a_position_of_an_older_epoch_is_judged_by_the_table() {
    let lost = Lost::new().await;
    let counts = lost.counts();
    for (pos, expected) in [
        (at(1, 1), Some(mark(at(1, 1), 1, 0))),
        (at(1, 3), Some(mark(at(1, 3), 3, 1))),
        (at(1, 4), Some(mark(at(1, 3), 3, 1))),
        (at(1, 900), Some(mark(at(1, 3), 3, 1))),
        (at(2, 4), Some(mark(at(2, 4), 4, 1))),
        (at(2, 5), Some(mark(at(2, 5), 5, 2))),
        (at(2, 6), None),
        (at(3, 4), None),
        (Position::START, Some(ReadMark::default())),
    ] {
        assert_eq!(lost.mark(&counts, pos).await, expected, "{pos}");
    }
}

#[tokio::test]
async fn a_position_of_an_older_epoch_is_found_before_it_is_stored() {
    let lost = Lost::new().await;
    // Persisting has not come to these events yet: the log alone has them.
    let folder = Folder::new();
    let behind = open(&folder.file()).await.messages;
    let stores = &lost.node.stores;
    let history = History::new(stores.log.clone(), behind.clone(), stores.epochs.clone());
    let counts = Counts::new(stores.log.clone(), behind, stores.unread.clone(), history);
    for pos in [at(1, 1), at(1, 2), at(1, 3), at(1, 5)] {
        let found = lost.mark(&counts, pos).await.map(|mark| mark.pos);
        assert_eq!(found, Some(at(1, pos.seq.min(3))), "{pos}");
    }
}

#[tokio::test]
async fn a_log_that_came_back_with_less_than_is_stored_is_read_without_a_gap() {
    let Some((node, (_process, server))) = Node::on_redis().await else {
        return;
    };
    let (group, talker) = (group(), user());
    for _ in 1..=6 {
        node.append(group, text(talker, "在吗")).await;
    }
    node.store_all(group).await;
    let mut raw = server.raw().await;
    let stream = format!("s{{{}}}:{group}", group.partition());
    for seq in 3..=6 {
        let mut gone = redis::cmd("XDEL");
        let gone = gone.arg(&stream).arg(format!("1-{seq}"));
        gone.exec_async(&mut raw).await.unwrap();
    }
    node.raise(group).await;
    for _ in 1..=3 {
        node.append(group, text(talker, "还在吗")).await;
    }
    for limit in [1, 2, 3, 7, 9, 20] {
        let mut table = EpochTable::default();
        let mut found: Vec<Entry> = Vec::new();
        loop {
            let from = found.last().map_or(Position::START, |entry| entry.pos);
            let page = node.history.after(group, &mut table, from, None, limit);
            let page = page.await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit);
            found.extend(page);
        }
        let seqs: Vec<_> = found.iter().map(|entry| entry.pos.seq).collect();
        assert_eq!(seqs, (1..=9).collect::<Vec<_>>(), "by pages of {limit}");
        let down = node.history.before(group, &mut table, None, limit);
        let down = positions(&down.await.unwrap());
        let seqs: Vec<_> = down.iter().map(|pos| pos.seq).collect();
        let first = 10 - u64::try_from(limit.min(9)).unwrap();
        assert_eq!(seqs, (first..=9).collect::<Vec<_>>());
    }
}
