//! What is told in passing is what is dropped first: it goes to a socket only if nothing is before
//! it, to a group only if that is small, and no faster than the node's bound.

use std::collections::HashMap;

use qunliu::egress::hearing::Hearing;
use qunliu::egress::hints::Hints;
use qunliu::egress::presence::Keeper;
use qunliu::model::hint::{Hint, HintKind};
use qunliu::protocol::client::Level;
use qunliu::protocol::websocket::encode::text_frame;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::pushing::{Pushing, Tab};
use crate::support::eventually;
use crate::support::logs::{DEADLINE, user};
use crate::support::redis::RedisServer;

impl Pushing {
    fn typing(&self) -> Hint {
        Hint {
            kind: HintKind::Typing,
            user: self.owner,
            groups: vec![self.group],
        }
    }

    fn signal(&self) -> Value {
        json!({"type": "signal", "group": self.group, "kind": "typing", "user": self.owner})
    }

    /// Hears so many hints while it is known which sessions go on, and has pushed or dropped them
    /// when this returns.
    async fn hear(&self, count: usize) {
        self.hub.sessions().fresh().await;
        self.hear_now(count).await;
    }

    async fn hear_now(&self, count: usize) {
        let (sender, hints) = broadcast::channel(64);
        for _ in 0..count {
            sender.send(self.typing()).unwrap();
        }
        drop(sender);
        let hearing = Hearing::new(self.hub.clone());
        hearing.run(hints, CancellationToken::new()).await;
    }

    fn dropped(&self, reason: &str) -> u64 {
        let dropped = &self.node.metrics.signals_dropped;
        dropped.with_label_values(&[reason]).get()
    }
}

async fn is_told(pushing: &Pushing, tab: &mut Tab) {
    pushing.hear(1).await;
    assert_eq!(tab.frame().await, pushing.signal());
}

#[tokio::test]
async fn a_signal_is_never_behind_anything_that_was_pushed_before() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    is_told(&pushing, &mut tab).await;
    let waiting = text_frame(br#"{"type":"events"}"#);
    let held = tab.socket.queue.hold(&waiting);
    assert_eq!(held, qunliu::egress::send_queue::Pushed::Queued);
    pushing.hear(1).await;
    assert_eq!(pushing.dropped("socket"), 1);
    tab.socket.queue.release();
    assert_eq!(tab.frame().await, json!({"type": "events"}));
    tab.has_nothing().await;
    is_told(&pushing, &mut tab).await;
}

#[tokio::test]
async fn a_socket_that_arrives_or_is_given_a_group_hears_no_signal() {
    let pushing = Pushing::new().await;
    let (mut arriving, arrival) = pushing.arriving("web-1").await;
    pushing.hear(1).await;
    pushing.attach.deliver(&arriving.socket, arrival);
    arriving.socket.hold();
    pushing.hear(1).await;
    arriving.socket.release(&HashMap::new());
    arriving.has_nothing().await;
    assert_eq!(pushing.dropped("socket"), 2);
    is_told(&pushing, &mut arriving).await;
}

#[tokio::test]
async fn who_follows_less_than_all_of_a_group_hears_no_signal_of_it() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    for level in [Level::Head, Level::None] {
        tab.socket.set_level(pushing.group, level);
        pushing.hear(1).await;
        tab.has_nothing().await;
    }
    assert_eq!(pushing.dropped("socket"), 0, "it is not owed one");
    tab.socket.set_level(pushing.group, Level::Full);
    is_told(&pushing, &mut tab).await;
}

#[tokio::test]
async fn a_group_that_grew_too_large_is_told_nothing() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    is_told(&pushing, &mut tab).await;
    let third = pushing.register("wang.wu").await;
    pushing.add(third).await;
    // Whoever comes brings the new size.
    let mut other = pushing.welcomed("web-2").await;
    pushing.hear(1).await;
    assert_eq!(pushing.dropped("group_size"), 1);
    tab.has_nothing().await;
    other.has_nothing().await;
}

#[tokio::test]
async fn beyond_so_many_frames_a_second_signals_are_dropped() {
    let pushing = Pushing::new().await;
    let _tab = pushing.welcomed("web-1").await;
    pushing.hub.sessions().fresh().await;
    // All of them in one second.
    tokio::time::pause();
    pushing.hear_now(8).await;
    let pushed = &pushing.node.metrics.signals_pushed;
    assert_eq!(pushed.with_label_values(&["typing"]).get(), 3);
    assert_eq!(pushing.dropped("budget"), 5);
}

#[tokio::test]
async fn while_ends_of_sessions_cannot_be_seen_no_signal_goes_out() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    pushing
        .node
        .tasks
        .stop(DEADLINE, std::future::pending())
        .await;
    let sessions = pushing.hub.sessions();
    eventually(DEADLINE, async || !sessions.is_fresh()).await;
    pushing.hear_now(1).await;
    assert_eq!(pushing.dropped("held"), 1);
    tab.has_nothing().await;
}

#[tokio::test]
async fn ones_own_sockets_and_other_groups_hear_nothing() {
    let pushing = Pushing::new().await;
    let mut tab = pushing.welcomed("web-1").await;
    let (sender, hints) = broadcast::channel(8);
    let own = Hint {
        user: pushing.member,
        ..pushing.typing()
    };
    let foreign = Hint {
        groups: vec![qunliu::model::id::GroupId::generate(
            crate::support::logs::AT,
        )],
        user: user(),
        ..pushing.typing()
    };
    sender.send(own).unwrap();
    sender.send(foreign).unwrap();
    drop(sender);
    let hearing = Hearing::new(pushing.hub.clone());
    hearing.run(hints, CancellationToken::new()).await;
    tab.has_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_whom_redis_forgot_arrive_again() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let process = server.process().await;
    let (pushing, presence) = (Pushing::new().await, process.stores.presence.clone());
    let (hub, directory) = (pushing.hub.clone(), pushing.directory.clone());
    let (hints, _outgoing) = Hints::new(presence.clone(), pushing.node.metrics.clone());
    let keeper = Keeper::new(hub, presence.clone(), directory, hints);
    pushing
        .node
        .tasks
        .spawn(keeper.run(CancellationToken::new()));
    let _tab = pushing.welcomed("web-1").await;
    let member = [pushing.member];
    let is_here = async || presence.online(&member).await.unwrap() == member;
    eventually(DEADLINE, is_here).await;
    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    eventually(DEADLINE, is_here).await;
}
