//! The one process with embedded stores dies in the middle of its work.

use super::{Evidence, IN_FLIGHT_MIN, size, talking, turn};
use crate::support::node::House;
use crate::support::process::Signal;

#[tokio::test]
async fn the_killed_embedded_node_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let house = House::new(Vec::new());
    let mut nodes = vec![house.start("only").await];
    let mut load = talking(&house, &nodes, &size()).await;
    nodes[0].signal(Signal::Stop);
    let in_flight = load.unanswered(IN_FLIGHT_MIN).await;
    // In the first moments of its work: some of what waited is done and not answered.
    nodes[0].signal(Signal::Continue);
    nodes[0].kill().await;
    nodes[0].start_again(&house).await;
    let counts = load.passed().await;
    Evidence {
        fault: "kill -9 of the embedded node",
        in_flight,
        taken_again: 0,
    }
    .tell(&counts);
}
