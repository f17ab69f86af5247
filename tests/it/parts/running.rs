//! How a consumer is run: what it could not handle comes again, what it never can is put aside, and
//! nothing is acknowledged before it was handled.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use qunliu::model::position::Position;
use qunliu::pipeline::consumers::Handler;
use qunliu::pipeline::runner::Runner;
use qunliu::store::consumers::{Consumer, Delivery};
use qunliu::store::{Result, StoreError};

use super::Node;
use crate::support::eventually;
use crate::support::logs::{DEADLINE, Group, new_group, user};
use crate::support::sample::at;

/// A consumer that notes what it handled. The first call of all finds its store away, and some
/// events it can never handle.
#[derive(Default)]
struct Noting {
    impossible: HashSet<Position>,
    period: Duration,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    calls: usize,
    handled: Vec<Position>,
    buried: Vec<Position>,
}

#[async_trait]
impl Handler for Noting {
    fn consumer(&self) -> Consumer {
        Consumer::Unread
    }

    fn period(&self) -> Duration {
        self.period
    }

    async fn handle(&self, batch: &[Delivery]) -> Result<()> {
        let mut noted = self.noted.lock().unwrap();
        noted.calls += 1;
        if noted.calls == 1 {
            return Err(StoreError::Unavailable {
                store: "noted",
                source: "away".into(),
            });
        }
        if batch
            .iter()
            .any(|event| self.impossible.contains(&event.pos))
        {
            return Err(StoreError::Corrupt {
                store: "noted",
                what: "an event".to_owned(),
            });
        }
        noted.handled.extend(batch.iter().map(|event| event.pos));
        Ok(())
    }

    async fn bury(&self, letter: &Delivery, _reason: &str) -> Result<()> {
        self.noted.lock().unwrap().buried.push(letter.pos);
        Ok(())
    }
}

/// Runs it over a group with events at `[1,1]` to `[1,4]`, until so many of them are done.
async fn run(noting: &Arc<Noting>, done: usize) {
    let node = Node::new().await;
    let group = new_group(&node.stores.log).await;
    say(&group, 4).await;
    start(&node, noting);
    wait(noting, done).await;
}

async fn say(group: &Group, count: usize) {
    for _ in 0..count {
        group.say(user(), "在吗").await;
    }
}

fn start(node: &Node, noting: &Arc<Noting>) {
    let (consumers, metrics) = (node.stores.consumers.clone(), node.metrics.clone());
    let runner = Runner::new(consumers, noting.clone(), metrics);
    let tasks = &node.tasks;
    tasks.spawn(runner.run(tasks.draining().clone()));
}

async fn wait(noting: &Arc<Noting>, done: usize) {
    eventually(DEADLINE, async || {
        let noted = noting.noted.lock().unwrap();
        noted.handled.len() + noted.buried.len() >= done
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_met_a_store_away_comes_again_whole() {
    let noting = Arc::new(Noting::default());
    run(&noting, 4).await;
    let noted = noting.noted.lock().unwrap();
    assert_eq!(noted.handled, [at(1, 1), at(1, 2), at(1, 3), at(1, 4)]);
    assert_eq!(noted.buried, []);
}

#[tokio::test]
async fn an_event_that_can_never_be_handled_is_put_aside_and_no_other() {
    let noting = Arc::new(Noting {
        impossible: HashSet::from([at(1, 2)]),
        ..Noting::default()
    });
    run(&noting, 4).await;
    let noted = noting.noted.lock().unwrap();
    assert_eq!(noted.handled, [at(1, 1), at(1, 3), at(1, 4)]);
    assert_eq!(noted.buried, [at(1, 2)]);
}

#[tokio::test]
async fn a_small_batch_is_followed_by_a_rest_and_a_full_one_by_none() {
    for (first, rests) in [(255, true), (256, false)] {
        let noting = Arc::new(Noting {
            period: Duration::from_secs(3600),
            ..Noting::default()
        });
        let node = Node::new().await;
        let group = new_group(&node.stores.log).await;
        say(&group, first).await;
        start(&node, &noting);
        wait(&noting, first).await;
        say(&group, 1).await;
        if rests {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(noting.noted.lock().unwrap().handled.len(), first);
        } else {
            wait(&noting, first + 1).await;
        }
    }
}
