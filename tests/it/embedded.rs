//! What only the embedded stores promise: one file, one process, one commit for many writes.

use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use qunliu::lifecycle::{Stopped, Tasks};
use qunliu::model::position::Position;
use qunliu::store::StoreError;
use qunliu::store::consumers::{Consumer, Delivery};
use qunliu::store::embedded::stores::EmbeddedStores;
use qunliu::store::log::Outcome;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::contract::consumers::{ack, positions, take};
use crate::support::embedded::open;
use crate::support::env;
use crate::support::folder::Folder;
use crate::support::logs::{
    DEADLINE, Group, appended, new_group, repeated, seqs, tail_entries, text, user,
};

/// Names the file to the process that is to be killed.
const FILE_VARIABLE: &str = "QUNLIU_TEST_KILLED_FILE";

/// How many appends are acknowledged before the kill, by [`SENDERS`] senders at once.
const ACKNOWLEDGED: usize = 400;
const SENDERS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = Folder::new();
    let mut process = appending_process(&folder);
    let output = process.stdout.take().unwrap();
    let mut lines = BufReader::new(output).lines();
    let mut acknowledged = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        acknowledged.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
        if acknowledged.len() == ACKNOWLEDGED {
            process.start_kill().unwrap();
        }
    }
    assert!(acknowledged.len() >= ACKNOWLEDGED, "it ended by itself");
    let kept = kept(&open(&folder.file()).await).await;
    for line in acknowledged {
        assert!(kept.contains(&line), "{line} is lost");
    }
}

/// Not a fact of its own: it runs in the process that is killed, and does nothing elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_until_killed() {
    let Some(file) = env(FILE_VARIABLE) else {
        return;
    };
    let stores = open(file.as_ref()).await;
    let group = new_group(&stores.log).await;
    join_all((0..SENDERS).map(|_| say_for_ever(&group))).await;
}

#[expect(clippy::print_stdout, reason = "the process that kills reads it")]
async fn say_for_ever(group: &Group) {
    loop {
        let said = text(user(), "在吗");
        let pos = appended(group.append(&said).await).pos;
        println!("acknowledged {} {pos} {}", group.id, said.client_id);
    }
}

fn appending_process(folder: &Folder) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["embedded::append_until_killed", "--exact", "--nocapture"])
        .env(FILE_VARIABLE, folder.file())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Every event in the file, as the killed process printed those that it was answered.
async fn kept(stores: &EmbeddedStores) -> Vec<String> {
    let taken = stores.consumers.take(Consumer::Unread, 1_000_000);
    let taken = tokio::time::timeout(DEADLINE, taken).await;
    let line = |event: Delivery| {
        let client_id = event.entry.unwrap().client_id;
        format!("{} {} {client_id}", event.group, event.pos)
    };
    taken.unwrap().unwrap().into_iter().map(line).collect()
}

#[tokio::test]
async fn a_file_opened_again_goes_on_where_it_ended() {
    let folder = Folder::new();
    let stores = open(&folder.file()).await;
    let group = new_group(&stores.log).await;
    let said = text(user(), "once");
    let first = appended(group.append(&said).await);
    stores.database.close().await;
    let again = open(&folder.file()).await;
    let history = again.log.history(group.id.partition()).await.unwrap();
    assert_eq!(history, group.history, "it is the same log");
    let group = Group {
        log: again.log,
        ..group
    };
    assert_eq!(repeated(group.append(&said).await).pos, first.pos);
    assert_eq!(group.say(said.sender, "more").await.pos, group.pos(2));
    assert_eq!(group.head_of(Some(said.sender)).await.1, Some(2));
}

#[tokio::test]
async fn two_files_are_two_histories() {
    let (one, two) = (Folder::new(), Folder::new());
    let one = new_group(&open(&one.file()).await.log).await;
    let two = new_group(&open(&two.file()).await.log).await;
    assert_ne!(one.history, two.history);
}

#[tokio::test]
async fn what_was_acknowledged_out_of_order_does_not_come_again_after_a_restart() {
    let folder = Folder::new();
    let stores = open(&folder.file()).await;
    let group = new_group(&stores.log).await;
    for n in 0..5 {
        group.say(user(), &n.to_string()).await;
    }
    let taken = take(&stores.consumers, Consumer::Unread, group.id, 5).await;
    ack(&stores.consumers, Consumer::Unread, &taken[..1]).await;
    ack(&stores.consumers, Consumer::Unread, &taken[2..4]).await;
    stores.database.close().await;
    let again = open(&folder.file()).await;
    let rest = take(&again.consumers, Consumer::Unread, group.id, 2).await;
    assert_eq!(positions(&rest), [group.pos(2), group.pos(5)]);
    ack(&again.consumers, Consumer::Unread, &rest).await;
    again.database.close().await;
    let last = open(&folder.file()).await;
    let nothing = last.consumers.take(Consumer::Unread, 10);
    let nothing = tokio::time::timeout(Duration::from_millis(200), nothing).await;
    assert!(nothing.is_err(), "{nothing:?} came again");
}

#[tokio::test]
async fn reads_do_not_wait_for_the_writer() {
    let folder = Folder::new();
    let stores = open(&folder.file()).await;
    let group = new_group(&stores.log).await;
    group.say(user(), "before").await;
    let writing = stores.database.begin().await.unwrap();
    let said = text(user(), "waits");
    let mut append = Box::pin(group.append(&said));
    assert!(futures::poll!(&mut append).is_pending());
    let entries = tokio::time::timeout(DEADLINE, group.entries()).await;
    assert_eq!(entries.unwrap().len(), 1);
    drop(writing);
    assert_eq!(appended(append.await).pos, group.pos(2));
}

#[tokio::test]
async fn the_same_send_twice_in_one_commit_is_appended_once() {
    let folder = Folder::new();
    let stores = open(&folder.file()).await;
    let group = new_group(&stores.log).await;
    let said = text(user(), "once");
    let mut other = text(said.sender, "other");
    other.client_id = said.client_id;
    let writing = stores.database.begin().await.unwrap();
    let free = async { drop(writing) };
    let (first, again, other, ()) = tokio::join!(
        group.append(&said),
        group.append(&said),
        group.append(&other),
        free
    );
    let pos = appended(first).pos;
    assert_eq!(repeated(again).pos, pos);
    assert_eq!(other, Outcome::Conflict(pos));
    assert_eq!(group.entries().await.len(), 1);
}

#[tokio::test]
async fn a_tail_far_behind_reads_on_without_another_append() {
    let folder = Folder::new();
    let stores = open(&folder.file()).await;
    let group = new_group(&stores.log).await;
    let said: Vec<_> = (0..600).map(|n| text(user(), &n.to_string())).collect();
    join_all(said.iter().map(|said| group.append(said))).await;
    let mut tail = stores.log.tail().await.unwrap();
    tail.watch(group.id, Position::START);
    let seen = tail_entries(&mut tail, group.id, 600).await;
    assert_eq!(seqs(&seen), (1..=600).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_what_is_queued() {
    let folder = Folder::new();
    let tasks = Tasks::default();
    let stores = EmbeddedStores::open(&folder.file(), &tasks).await.unwrap();
    let group = new_group(&stores.log).await;
    let said: Vec<_> = (0..50).map(|n| text(user(), &n.to_string())).collect();
    let mut appends = Box::pin(join_all(said.iter().map(|said| group.append(said))));
    assert!(futures::poll!(&mut appends).is_pending());
    let stopped = tasks.stop(DEADLINE, std::future::pending()).await;
    assert_eq!(stopped, Stopped::Drained);
    let outcomes = futures::FutureExt::now_or_never(appends);
    for outcome in outcomes.expect("all were answered before the stop ended") {
        appended(outcome);
    }
}

#[tokio::test]
async fn an_aborted_write_is_unavailable_and_not_there() {
    let folder = Folder::new();
    let tasks = Tasks::default();
    let stores = EmbeddedStores::open(&folder.file(), &tasks).await.unwrap();
    let group = new_group(&stores.log).await;
    let writing = stores.database.begin().await.unwrap();
    let said = text(user(), "aborted");
    let mut append = stores.log.append(group.request(&said));
    assert!(futures::poll!(&mut append).is_pending());
    let stopped = tasks.stop(DEADLINE, std::future::ready(())).await;
    assert_eq!(stopped, Stopped::Aborted);
    let outcome: Result<Outcome, StoreError> = append.await;
    assert!(outcome.is_err_and(|error| error.is_transient()));
    drop(writing);
    let entries = stores.log.range(group.id, Position::START, None, 9).await;
    assert!(entries.unwrap().is_empty());
}
