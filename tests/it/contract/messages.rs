//! What [`Messages`] promises: idempotent inserts, ordered ranges, look-ups. Each file ends with the
//! list of its cases.

mod finding;
mod inserts;
mod ranges;

use qunliu::model::event::Entry;
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::store::messages::Inserted::Kept;
use qunliu::store::messages::Messages;

use crate::support::fixture::Fixture;
use crate::support::sample::{at, message};

type Subject = Fixture<dyn Messages>;

/// Keeps messages at `positions` of one group.
async fn keep(messages: &dyn Messages, group: GroupId, positions: &[Position]) -> Vec<Entry> {
    let entries: Vec<_> = positions.iter().map(|pos| message(*pos, "在吗")).collect();
    keep_entries(messages, group, &entries).await;
    entries
}

async fn keep_entries(messages: &dyn Messages, group: GroupId, entries: &[Entry]) {
    let batch: Vec<_> = entries.iter().map(|entry| (group, entry.clone())).collect();
    let inserted = messages.insert(&batch).await.unwrap();
    assert!(inserted.iter().all(|one| *one == Kept), "{inserted:?}");
}

async fn everything(messages: &dyn Messages, group: GroupId) -> Vec<Entry> {
    let all = messages.range(group, Position::START, None, 10_000).await;
    all.unwrap()
}

fn positions(entries: &[Entry]) -> Vec<Position> {
    entries.iter().map(|entry| entry.pos).collect()
}

fn seqs(epoch: u64, seqs: impl IntoIterator<Item = u64>) -> Vec<Position> {
    seqs.into_iter().map(|seq| at(epoch, seq)).collect()
}
