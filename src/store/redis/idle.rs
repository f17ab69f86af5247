//! Idle groups: their streams are emptied and their `client_id`s forgotten, once everything in them
//! is handled and stored. What is needed of them again is read from the message store.

use redis::Value;

use super::keys;
use super::leases::Digits;
use super::library::Function;
use super::links::Links;
use super::reply::{list, text};
use super::topology::shard::Lane;
use crate::model::id::{GroupId, Partition};
use crate::store::Result;
use crate::store::consumers::Consumer;

/// Groups of a partition that are emptied in one round.
const GROUPS: usize = 64;

/// Empties what is idle in the partitions of `digits`.
///
/// # Errors
/// `Unavailable`; what is left is emptied in the next round.
pub(super) async fn sweep(links: &Links, digits: Digits) -> Result<()> {
    let mut asked = Vec::new();
    for partition in (0..=u8::MAX).map(Partition) {
        if digits.contains(partition.digit()) {
            let mut idle = links.library.call(Function::Idle, &[keys::idle(partition)]);
            idle.arg(GROUPS);
            asked.push((partition.into(), idle));
        }
    }
    let answers = links.all(Lane::Consumers, &asked).await?;
    let mut emptied = Vec::new();
    for answer in &answers {
        for group in list(answer)?.iter().filter_map(group) {
            emptied.push((group.into(), empty(links, group)));
        }
    }
    links.all(Lane::Consumers, &emptied).await?;
    Ok(())
}

fn group(listed: &Value) -> Option<GroupId> {
    text(listed).ok()?.parse().ok()
}

fn empty(links: &Links, group: GroupId) -> redis::Cmd {
    let [stream, head, _own, memory, other, ..] = keys::all(group);
    let partition = group.partition();
    let (idle, witness) = (keys::idle(partition), keys::witness(partition));
    let keys = [stream, head, memory, other, idle, witness];
    let mut call = links.library.call(Function::Empty, &keys);
    call.arg(Consumer::ALL.len()).arg(group.to_string());
    call
}
