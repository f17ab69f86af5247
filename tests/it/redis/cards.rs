//! What is kept for arrivals goes by itself: people who never come back would fill the memory.

use qunliu::store::unread::{Learnt, Mention};
use redis::cmd;

use crate::support::logs::{AT, user};
use crate::support::redis::RedisServer;
use crate::support::sample::{at, group};

/// A day, and the hour for which mentions of all outlive the cards that count from them.
const KEPT_S: i64 = 25 * 60 * 60;

#[tokio::test]
async fn cards_and_mentions_of_all_are_gone_a_day_after_the_last_arrival() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let (cards, group) = (&process.stores.cards, group());
    let (held, marked, mentioned) = (user(), user(), user());
    cards.begin(&[group]).await.unwrap();
    cards.hold(held).await.unwrap();
    cards.let_go(held).await.unwrap();
    cards.begin_mark(marked, group).await.unwrap();
    let mention = Mention { by: user(), at: AT };
    let learnt = Learnt {
        mentions: vec![(group, mentioned, at(1, 2), mention)],
        mentions_all: vec![(group, at(1, 3), user())],
        ..Learnt::default()
    };
    cards.note(&learnt).await.unwrap();
    let mut raw = server.raw().await;
    let mut found = 0;
    for kind in ["c{*", "l{*"] {
        let keys: Vec<String> = cmd("KEYS").arg(kind).query_async(&mut raw).await.unwrap();
        for key in keys {
            let left: i64 = cmd("TTL").arg(&key).query_async(&mut raw).await.unwrap();
            assert!((1..=KEPT_S).contains(&left), "{key}: {left}");
            found += 1;
        }
    }
    assert_eq!(found, 4, "three cards and a list");
}
