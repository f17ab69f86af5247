//! Which stores answer, as supervisors are told it.

use std::time::Duration;

use futures::future::join_all;
use qunliu::store::readiness::Readiness;

use super::Node;

#[tokio::test]
async fn stores_are_asked_once_a_second_however_many_want_to_know() {
    let node = Node::new().await;
    let readiness = Readiness::new(
        node.directory.clone(),
        node.log.clone(),
        node.epochs.clone(),
        node.metrics.clone(),
    );
    let door = &node.log.history;
    let before = door.callers();
    let told = join_all((0..50).map(|_| readiness.missing())).await;
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
    assert_eq!(door.callers(), before + 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    door.turn_one_away();
    for _ in 0..2 {
        assert_eq!(readiness.missing().await, ["log"]);
    }
    assert_eq!(door.callers(), before + 2);
}
