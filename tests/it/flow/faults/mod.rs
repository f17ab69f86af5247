//! What must hold when processes die or hang in the middle of their work: nothing said is
//! missing, doubled or out of order, and every unread count equals a recount.
//!
//! Each test lets [`Load`] talk, waits until enough sends are in flight, breaks something, heals
//! it, and takes the verdict of the audit. A run in which the fault met no work proves nothing:
//! it fails as inconclusive unless something was sent or taken a second time.
//!
//! How sends come to be in flight: a healthy server answers within milliseconds, so a store is
//! made to hang (SIGSTOP) until they have piled up in front of it, and then the kill comes. A
//! kill of the hanging store's *client*, a node, leaves sends that the store takes after their
//! node died: appended, and answered to nobody.
//!
//! `QUNLIU_TEST_SEED` varies who says what, and when the fault comes; `scripts/chaos` loops over
//! it. The tests run one at a time, for they share two cores with others.

use tokio::sync::{Mutex, MutexGuard};

use crate::support::env;
use crate::support::load::{Counts, Load, Size, of};
use crate::support::node::{House, Node};

mod drain;
mod embedded;
mod failovers;
mod losses;
mod restores;
mod services;

/// One fault at a time.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// How many sends must be in flight when something is killed.
const IN_FLIGHT_MIN: u64 = 100;

/// The random choices of this run.
fn seed() -> u64 {
    env("QUNLIU_TEST_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// What a debug build serves on two busy cores.
fn size() -> Size {
    Size {
        users: 60,
        groups: 30,
        rate: 80,
        seconds: 12,
        seed: seed(),
    }
}

/// Begins to talk, and waits until a part of it is said: from a fifth to two fifths.
async fn talking(house: &House, nodes: &[Node], size: &Size) -> Load {
    let mut load = Load::start(house, nodes, size);
    let all = u64::from(size.rate * size.seconds);
    load.sent(all / 5 + all / 5 * (seed() % 8) / 7).await;
    load
}

/// What shows that a fault met work.
struct Evidence {
    fault: &'static str,
    /// Sends without an answer, or without `stored`, at the moment of the fault.
    in_flight: u64,
    /// Batches that consumers took again.
    taken_again: u64,
}

impl Evidence {
    /// Tells the evidence as a row of a table, and asserts that there is any.
    fn tell(&self, counts: &Counts) {
        let Self {
            fault,
            in_flight,
            taken_again,
        } = self;
        let again = of(counts, "again");
        let told = ["sent", "reconnects", "epochs told", "pulls"];
        let told = told.map(|name| of(counts, name).to_string()).join(" | ");
        eprintln!("evidence | {fault} | {in_flight} | {again} | {taken_again} | {told} |");
        assert!(
            *in_flight >= IN_FLIGHT_MIN,
            "inconclusive: {in_flight} sends in flight"
        );
        assert!(
            again + taken_again > 0,
            "inconclusive: nothing was sent or taken again"
        );
    }
}

/// The sum of a counter over nodes.
async fn sum(nodes: &[Node], name: &str) -> u64 {
    let mut sum = 0.0;
    for node in nodes {
        sum += node.metric(name).await;
    }
    format!("{sum:.0}").parse().unwrap()
}
