//! A message store that is older than the log was told (epochs.md rule 11): it is noticed by whoever
//! meets it, nothing is called stored meanwhile, what the log still has is stored again, and what is
//! nowhere any more is shown as lost. The older store is a second file, beside the same Redis.

use std::sync::Arc;

use qunliu::model::epoch::Row;
use qunliu::model::event::{Content, Entry, Fixed, Kind};
use qunliu::model::group::Membership;
use qunliu::model::id::{GroupId, MerchantId, UserId};
use qunliu::model::message::Mentions;
use qunliu::model::position::Position;
use qunliu::model::role::Role;
use qunliu::model::unread::{ReadMark, Totals};
use qunliu::model::user::User;
use qunliu::pipeline::append::Placed;
use qunliu::pipeline::mend::Mender;
use qunliu::pipeline::restored::Restored;
use qunliu::store::cards::{Card, CardGroup, Cards};
use qunliu::store::embedded::cards::NoCards;
use qunliu::store::epochs::Fence;
use qunliu::store::log::Log;

use super::{Node, first};
use crate::support::embedded::open;
use crate::support::folder::Folder;
use crate::support::logs::{AT, DEADLINE, joined, set_stored, text, user};
use crate::support::redis::{Process, RedisServer, key};
use crate::support::sample::{at, group};
use crate::support::{eventually, mongo};

/// The index of the message that mentions somebody: the first of the two, by the second.
const MENTIONING: usize = 15;

/// A Redis with 20 messages of two people, 10 in each of two epochs, and a node whose message store
/// was put back to when there were 4.
struct Older {
    node: Node,
    newer: Node,
    group: GroupId,
    people: [UserId; 2],
    redis: (Process, RedisServer),
}

impl Older {
    async fn new() -> Option<Self> {
        let (newer, redis) = Node::on_redis().await?;
        let (group, people) = (group(), [user(), user()]);
        for index in 0..20 {
            if index == 10 {
                newer.raise(group).await;
            }
            let said = match index {
                MENTIONING => mentioning(people[index % 2], people[0]),
                _ => text(people[index % 2], "在吗"),
            };
            newer.append(group, said).await;
        }
        let last = newer.store_all(group).await;
        let log = &newer.log.log;
        set_stored(&**log, group, last).await;
        let folder = Folder::new();
        let stores = open(&folder.file()).await;
        let node = Node::over(log.clone(), stores, folder);
        let older = Self {
            node,
            newer,
            group,
            people,
            redis,
        };
        older.put_back().await;
        Some(older)
    }

    async fn put_back(&self) {
        let (stores, partition) = (&self.node.stores, self.group.partition());
        let first = Fence {
            epoch: 1,
            history: self.newer.log.log.history(partition).await.unwrap(),
        };
        stores.epochs.raise(partition, None, &first).await.unwrap();
        let row = Row::from((1, 1, 0));
        assert!(stores.epochs.add_row(self.group, None, row).await.unwrap());
        let upto = Some(at(1, 4));
        let kept = self
            .newer
            .stores
            .messages
            .range(self.group, Position::START, upto, 99);
        let kept: Vec<_> = kept
            .await
            .unwrap()
            .into_iter()
            .map(|e| (self.group, e))
            .collect();
        stores.messages.insert(&kept).await.unwrap();
    }

    /// Takes the entries at and below a position out of the stream.
    async fn trim(&self, upto: Position) {
        let stream = key('s', self.group);
        let from = format!("{}-{}", upto.epoch, upto.seq + 1);
        let mut trim = redis::cmd("XTRIM");
        trim.arg(stream).arg("MINID").arg(from);
        trim.exec_async(&mut self.redis.1.raw().await)
            .await
            .unwrap();
    }

    fn watch(&self) -> Restored {
        watch(&self.node, Arc::new(NoCards))
    }

    /// Where the first of the two is mentioned.
    async fn mentions(&self) -> Vec<Position> {
        let asked = [(self.group, Position::START)];
        let unread = &self.node.stores.unread;
        let mut mentions = unread.mentions(self.people[0], &asked).await.unwrap();
        mentions.remove(0)
    }

    async fn page(&self) -> Vec<Entry> {
        let mut table = self.node.history.table(self.group).await.unwrap();
        let page = self.node.history.before(self.group, &mut table, None, 99);
        page.await.unwrap()
    }

    async fn head(&self) -> (Position, u64, Position) {
        let heads = self.node.log.log.heads(&[self.group], None).await.unwrap();
        let head = heads[0].unwrap().0;
        (head.pos, head.count, head.stored)
    }

    async fn is_suspect(&self) -> bool {
        let told = self.node.log.log.told(&[self.group.partition()]).await;
        told.unwrap()[0].unwrap().suspect.is_some()
    }
}

fn mentioning(sender: UserId, whom: UserId) -> Fixed {
    let mut fixed = text(sender, "在吗");
    if let Content::Message { mentions, .. } = &mut fixed.content {
        *mentions = Mentions::Users(vec![whom]);
    }
    fixed
}

fn watch(node: &Node, cards: Arc<dyn Cards>) -> Restored {
    let stores = Mender {
        log: node.log.clone(),
        messages: node.stores.messages.clone(),
        epochs: node.epochs.clone(),
        history: node.history.clone(),
        unread: node.stores.unread.clone(),
        cards,
    };
    Restored::new(stores, node.fences.clone(), node.reopener.clone())
}

/// A node whose fences lie in a MongoDB, which numbers what it confirms; `None` if there is none.
async fn numbering(log: Arc<dyn Log>) -> Option<(Node, mongo::Place)> {
    let (numbered, place) = mongo::open().await?;
    let folder = Folder::new();
    let mut stores = open(&folder.file()).await;
    stores.epochs = numbered.epochs;
    Some((Node::over(log, stores, folder), place))
}

const fn mark(pos: Position, count: u64, own: u64) -> ReadMark {
    ReadMark {
        pos,
        totals: Totals { count, own },
    }
}

fn shown(page: &[Entry]) -> Vec<(Position, Kind, u64, u64)> {
    let shown = |entry: &Entry| (entry.pos, entry.kind, entry.count, entry.sender_count);
    page.iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_still_has_is_stored_again_where_it_stood() {
    let Some(older) = Older::new().await else {
        return;
    };
    older.watch().look().await.unwrap();
    let page = older.page().await;
    let mut table = older.newer.history.table(older.group).await.unwrap();
    let before = older
        .newer
        .history
        .before(older.group, &mut table, None, 99);
    assert_eq!(page, before.await.unwrap(), "not one position moved");
    let stored = older
        .node
        .stores
        .messages
        .positions(older.group, Position::START, 99);
    assert_eq!(stored.await.unwrap().len(), 20);
    assert_eq!(older.mentions().await, [at(2, 16)]);
    let table = older.node.history.table(older.group).await.unwrap();
    let rows = [(1, 1, 0), (2, 11, 10), (3, 21, 20)].map(Row::from);
    assert!(
        table.rows().eq(rows),
        "the row that was lost is there again"
    );
    assert_eq!(older.node.metrics.store_older.get(), 1);
    assert_eq!(older.node.metrics.events_lost.get(), 0);
    assert!(!older.is_suspect().await, "it is settled");
    older.watch().look().await.unwrap();
    assert_eq!(older.node.metrics.store_older.get(), 1, "and stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_nowhere_is_shown_as_lost_and_what_is_left_is_counted_without_it() {
    let Some(older) = Older::new().await else {
        return;
    };
    older.trim(at(1, 9)).await;
    older.watch().look().await.unwrap();
    let page = shown(&older.page().await);
    let table = older.node.history.table(older.group).await.unwrap();
    let rows = [(1, 1, 0), (2, 11, 10), (3, 5, 4)].map(Row::from);
    assert!(table.rows().eq(rows), "{table:?}");
    let mut expected: Vec<_> = (1..=4)
        .map(|seq| (at(1, seq), Kind::Message, seq, seq.div_ceil(2)))
        .collect();
    expected.extend((5..=9).map(|seq| (at(3, seq), Kind::Lost, 4, 0)));
    // 10 is the second one's third; then both take turns.
    let left = (10..=20).map(|seq| {
        let own = if seq % 2 == 0 {
            (seq - 10) / 2 + 3
        } else {
            (seq - 11) / 2 + 3
        };
        (at(3, seq), Kind::Message, seq - 5, own)
    });
    expected.extend(left);
    assert_eq!(page, expected);
    assert_eq!(older.head().await, (at(3, 20), 15, at(3, 20)));
    assert_eq!(older.node.metrics.events_lost.get(), 5);
    assert_eq!(older.mentions().await, [at(3, 16)]);
    let sent = older
        .node
        .append(older.group, text(older.people[0], "还在吗"))
        .await;
    assert_eq!((sent.pos, sent.count), (at(3, 21), 16));
    let (log, group) = (&older.node.log.log, [older.group]);
    let heads = log.heads(&group, Some(older.people[0])).await.unwrap();
    assert_eq!(heads[0].unwrap().1, Some(8));
}

/// Who joins again has sent before, and what of that is lost is not counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joined_begins_there_with_what_is_left_of_what_was_sent() {
    for (trimmed, begins) in [
        (None, mark(at(2, 21), 20, 10)),
        (Some(at(1, 9)), mark(at(3, 21), 15, 7)),
    ] {
        let Some(older) = Older::new().await else {
            return;
        };
        let member = older.people[0];
        older.newer.append(older.group, joined(member)).await;
        older
            .newer
            .append(older.group, text(member, "我回来了"))
            .await;
        if let Some(upto) = trimmed {
            older.trim(upto).await;
        }
        older.watch().look().await.unwrap();
        let unread = &older.node.stores.unread;
        let marks = unread.marks(member, &[older.group]).await.unwrap();
        assert_eq!(marks, [Some(begins)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_appends_notices_it_and_a_send_again_finds_what_is_left() {
    let Some(older) = Older::new().await else {
        return;
    };
    older.trim(at(1, 9)).await;
    let log = &older.newer.log.log;
    let left = log
        .range(older.group, at(1, 9), Some(at(1, 10)), 1)
        .await
        .unwrap();
    let event = left[0].event().unwrap();
    let request = first(older.group, event.fixed);
    let again = older.node.appender.append(&request).await.unwrap();
    assert!(
        matches!(again, Placed::Repeat(receipt) if receipt.pos == at(3, 10)),
        "{again:?}"
    );
    assert_eq!(older.node.metrics.store_older.get(), 1);
    assert!(
        older.is_suspect().await,
        "until all of the partition is mended"
    );
    older.watch().look().await.unwrap();
    assert!(!older.is_suspect().await);
    assert_eq!(older.head().await.0, at(3, 20), "it is mended once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_while_it_is_older() {
    let Some(older) = Older::new().await else {
        return;
    };
    let partition = older.group.partition();
    let confirmed = older.node.fences.confirm_and_tell(partition).await;
    assert!(confirmed.unwrap_err().is_transient());
    assert!(older.is_suspect().await);
    older.watch().look().await.unwrap();
    let confirmed = older.node.fences.confirm(&[partition]).await.unwrap();
    assert_eq!(confirmed.get(&partition), Some(&3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_confirmed_once_another_node_suspects_it() {
    let Some((node, _redis)) = Node::on_redis().await else {
        return;
    };
    let partition = group().partition();
    assert!(node.fences.confirm_and_tell(partition).await.unwrap());
    node.log.log.suspect(partition).await.unwrap();
    let confirmed = node.fences.confirm_and_tell(partition).await;
    assert!(confirmed.unwrap_err().is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_suspect_until_every_group_is_open_again() {
    let Some(older) = Older::new().await else {
        return;
    };
    older.node.log.open.turn_one_away();
    let looked = older.watch().look().await;
    assert!(looked.unwrap_err().is_transient());
    assert!(older.is_suspect().await);
    eventually(DEADLINE, async || {
        older.watch().look().await.unwrap();
        !older.is_suspect().await
    })
    .await;
    assert_eq!(older.page().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_went_back_is_noticed_and_settled_for_good() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = server.process().await.stores.log;
    let newer = numbering(log.clone()).await;
    let (Some((newer, _newer_place)), Some((node, _place))) = (newer, numbering(log).await) else {
        return;
    };
    let group = group();
    let partition = group.partition();
    newer.append(group, text(user(), "在吗")).await;
    for _ in 0..3 {
        assert!(newer.fences.confirm_and_tell(partition).await.unwrap());
    }
    // Of the same epoch, so that the number alone tells them apart.
    assert_eq!(node.fences.get(partition).await.unwrap().epoch, 1);
    let watch = watch(&node, Arc::new(NoCards));
    watch.look().await.unwrap();
    assert_eq!(node.metrics.store_older.get(), 1);
    watch.look().await.unwrap();
    assert_eq!(node.metrics.store_older.get(), 1, "it is settled");
    let confirmed = node.fences.confirm(&[partition]).await.unwrap();
    assert_eq!(confirmed.get(&partition), Some(&2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_marks_that_cards_remember_are_moved_again() {
    let Some(older) = Older::new().await else {
        return;
    };
    let (reader, group) = (older.people[0], older.group);
    let mark = mark(at(2, 15), 15, 8);
    let cards = older.redis.0.stores.cards.clone();
    let begun = cards.begin(&[group]).await.unwrap().remove(0);
    let seat = CardGroup {
        group,
        members: 2,
        membership: Membership {
            merchant: MerchantId::generate(AT),
            role: Role::Member,
            joined: Some(Position::START),
        },
        rights: Position::START,
        mark,
        mentions: Vec::new(),
        begun,
    };
    let card = Card {
        user: User {
            id: reader,
            name: "han.mei".to_owned(),
            display_name: "韩 梅 梅".to_owned(),
        },
        groups: vec![seat],
    };
    let version = cards.get(reader).await.unwrap().version.unwrap();
    assert!(cards.fill(version, &card).await.unwrap());
    watch(&older.node, cards).look().await.unwrap();
    let unread = &older.node.stores.unread;
    let marks = unread.marks(reader, &[group]).await.unwrap();
    assert_eq!(marks, [Some(mark)]);
}
