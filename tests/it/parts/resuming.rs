//! What was missed is read once for all who come back, and read on for those who missed more.

use std::collections::HashMap;

use qunliu::protocol::client::Level;
use qunliu::protocol::server::Verdict;
use serde_json::json;

use super::pushing::Pushing;
use crate::support::logs::DEADLINE;
use crate::support::sample::at;

/// Somebody with a cursor in the first epoch comes back, and goes again.
async fn comes_back(pushing: &Pushing, held: u64, first: u64, last: u64) {
    let told = pushing.comes_back(at(1, held)).await;
    let seqs: Vec<_> = told.iter().map(|pos| pos[1].clone()).collect();
    let missed: Vec<_> = (first..=last).map(|seq| json!(seq)).collect();
    assert_eq!(seqs, missed, "from {held}");
}

#[tokio::test]
async fn what_a_group_missed_is_read_once_for_all_who_come_back() {
    let pushing = Pushing::new().await;
    let read = |from| pushing.node.metrics.resume_reads.with_label_values(&[from]);
    for _ in 3..=8 {
        pushing.say().await;
    }
    for (held, stores) in [(5, 1), (5, 1), (6, 1), (7, 1)] {
        comes_back(&pushing, held, held + 1, 8).await;
        assert_eq!(read("stores").get(), stores, "from {held}");
    }
    assert_eq!(read("kept").get(), 3);
    pushing.say().await;
    // Read on, read again for one who missed more than is kept, and not at all for the rest.
    for (held, stores) in [(7, 2), (5, 2), (2, 3), (8, 3), (3, 3)] {
        comes_back(&pushing, held, held + 1, 9).await;
        assert_eq!(read("stores").get(), stores, "from {held}");
    }
}

#[tokio::test]
async fn what_was_kept_of_an_older_epoch_serves_nobody() {
    let pushing = Pushing::new().await;
    for _ in 3..=8 {
        pushing.say().await;
    }
    comes_back(&pushing, 2, 3, 8).await;
    pushing.node.raise(pushing.group).await;
    pushing.say().await;
    comes_back(&pushing, 2, 3, 9).await;
    let read = |from| pushing.node.metrics.resume_reads.with_label_values(&[from]);
    assert_eq!((read("stores").get(), read("kept").get()), (2, 0));
}

#[tokio::test]
async fn many_missed_events_come_in_frames_of_a_hundred() {
    let pushing = Pushing::new().await;
    for _ in 3..=232 {
        pushing.say().await;
    }
    comes_back(&pushing, 2, 3, 232).await;
    comes_back(&pushing, 131, 132, 232).await;
}

/// Of heads alone no event is wanted, but what is held may have been cut off all the same.
#[tokio::test]
async fn who_follows_heads_from_a_dead_cursor_is_told_the_epoch() {
    let pushing = Pushing::new().await;
    let (node, group) = (&pushing.node, pushing.group);
    let tab = pushing.welcomed("web-1").await;
    node.raise(group).await;
    pushing.say().await;
    pushing.run_the_tail();
    assert!(
        pushing
            .hub
            .until_told(&tab.socket, (group, 2), DEADLINE)
            .await
    );
    for (cursor, verdict) in [(at(1, 9), Verdict::Epoch), (at(2, 3), Verdict::Ok)] {
        let groups = HashMap::from([(group, Some(cursor))]);
        let followed = pushing.attach.follow(&tab.socket, &groups, Level::Head);
        let followed = followed.await.unwrap();
        assert_eq!(followed.groups[0].verdict, verdict);
        assert_eq!(followed.groups[0].rows.is_empty(), verdict == Verdict::Ok);
        pushing.attach.deliver(&tab.socket, followed);
    }
}
