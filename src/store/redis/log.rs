//! The groups' live logs as Redis Streams: [`Log`] over the functions and plain reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, Value, cmd};

use super::entry;
use super::fault::{is_out_of_memory, unavailable};
use super::info::{info_field, info_text};
use super::keys;
use super::library::Function;
use super::links::{HomeCall, Links};
use super::memory::Memory;
use super::reply::{at, list, number, text};
use super::tail::RedisTail;
use super::topology::shard::Lane;
use super::{append, reopen};
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::{Epoch, Position};
use crate::store::Result;
use crate::store::log::{
    Append, Head, HistoryId, Log, Open, Opened, Outcome, Prepared, Stored, Tail,
};

/// The logs in one Redis.
#[derive(Debug, Clone)]
pub(super) struct RedisLog {
    pub(super) links: Arc<Links>,
    memory: Memory,
}

impl RedisLog {
    pub(super) const fn new(links: Arc<Links>, memory: Memory) -> Self {
        Self { links, memory }
    }

    async fn read(
        &self,
        command: &str,
        group: GroupId,
        bounds: [String; 2],
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let mut read = cmd(command);
        read.arg(keys::stream(group))
            .arg(&bounds)
            .arg("COUNT")
            .arg(limit);
        let answer = self.links.call(Lane::Reads, group, &read).await?;
        entry::entries(group, &answer)
    }
}

#[async_trait]
impl Log for RedisLog {
    async fn append(&self, append: Append) -> Result<Outcome> {
        let group = append.draft.group;
        let is_full = self.memory.is_full(group);
        let call = append::call(&self.links.library, &append, is_full);
        match self.links.call(Lane::Ordered, group, &call).await {
            Err(error) if is_out_of_memory(&error) => Ok(Outcome::Full),
            answer => append::outcome(&append, &answer?),
        }
    }

    async fn history(&self, partition: Partition) -> Result<HistoryId> {
        let mut ask = cmd("INFO");
        ask.arg("replication");
        let info = self.links.call(Lane::Reads, partition, &ask).await?;
        history_of_master(&info_text(&info)?)
    }

    async fn tables(&self, groups: &[GroupId]) -> Result<Vec<Option<EpochTable>>> {
        let read = |group: &GroupId| {
            let mut read = cmd("GET");
            read.arg(keys::epochs(*group));
            ((*group).into(), read)
        };
        let reads: Vec<HomeCall> = groups.iter().map(read).collect();
        let answers = self.links.all(Lane::Reads, &reads).await?;
        let table = |kept: &Value| match kept {
            Value::Nil => Ok(None),
            kept => reopen::table(text(kept)?).map(Some),
        };
        answers.iter().map(table).collect()
    }

    async fn heads(
        &self,
        groups: &[GroupId],
        member: Option<UserId>,
    ) -> Result<Vec<Option<(Head, Option<u64>)>>> {
        heads(&self.links, groups, member).await
    }

    async fn range(
        &self,
        group: GroupId,
        after: Position,
        upto: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let upto = upto.map_or_else(|| "+".to_owned(), |upto| upto.to_string());
        self.read("XRANGE", group, [format!("({after}"), upto], limit)
            .await
    }

    async fn range_back(
        &self,
        group: GroupId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let before = before.map_or_else(|| "+".to_owned(), |before| format!("({before}"));
        let mut entries = self
            .read("XREVRANGE", group, [before, "-".to_owned()], limit)
            .await?;
        entries.reverse();
        Ok(entries)
    }

    async fn prepare(&self, group: GroupId, history: &str, epoch: Epoch) -> Result<Prepared> {
        let call = reopen::prepare(&self.links.library, group, history, epoch);
        reopen::prepared(&self.links.call(Lane::Ordered, group, &call).await?)
    }

    async fn open(&self, open: Open) -> Result<Opened> {
        let call = reopen::open(&self.links.library, &open);
        reopen::opened(&self.links.call(Lane::Ordered, open.group, &call).await?)
    }

    async fn set_stored(&self, marks: &[Stored]) -> Result<Vec<Partition>> {
        let call = |mark: &Stored| {
            let keys = [
                keys::head(mark.group),
                keys::witness(mark.group.partition()),
            ];
            let mut call = self.links.library.call(Function::Stored, &keys);
            call.arg(mark.pos.to_string()).arg(mark.confirmed);
            (mark.group.into(), call)
        };
        let calls: Vec<HomeCall> = marks.iter().map(call).collect();
        let answers = self.links.all(Lane::Reads, &calls).await?;
        let mut refused = BTreeSet::new();
        for (mark, answer) in marks.iter().zip(&answers) {
            if number(answer)? == 0 {
                refused.insert(mark.group.partition());
            }
        }
        Ok(refused.into_iter().collect())
    }

    async fn tail(&self) -> Result<Box<dyn Tail>> {
        let mut tail = RedisTail::new(Arc::clone(&self.links));
        tail.connect().await?;
        Ok(Box::new(tail))
    }
}

/// The heads of `groups`; with `member`, each with that member's own total.
async fn heads(
    links: &Links,
    groups: &[GroupId],
    member: Option<UserId>,
) -> Result<Vec<Option<(Head, Option<u64>)>>> {
    let mut reads: Vec<HomeCall> = Vec::new();
    for group in groups {
        reads.push(((*group).into(), read(links, *group, member)));
    }
    let answers = links.all(Lane::Reads, &reads).await?;
    match member {
        None => answers.iter().map(|kept| head(kept, None)).collect(),
        Some(_) => answers.iter().map(counted).collect(),
    }
}

/// A head and an own total are read in one step: of two, an own message may come between.
fn read(links: &Links, group: GroupId, member: Option<UserId>) -> Cmd {
    let Some(member) = member else {
        let mut read = cmd("GET");
        read.arg(keys::head(group));
        return read;
    };
    let keys = [keys::head(group), keys::own(group)];
    let mut call = links.library.call(Function::Counted, &keys);
    call.arg(member.as_bytes());
    call
}

fn counted(answer: &Value) -> Result<Option<(Head, Option<u64>)>> {
    let fields = list(answer)?;
    head(at(fields, 0)?, own(at(fields, 1)?, at(fields, 2)?)?)
}

fn head(kept: &Value, own: Option<u64>) -> Result<Option<(Head, Option<u64>)>> {
    match kept {
        Value::Nil => Ok(None),
        kept => Ok(Some((entry::head(text(kept)?)?, own))),
    }
}

/// An own total: 0 for one who never sent, nothing if the log lost count.
fn own(all: &Value, total: &Value) -> Result<Option<u64>> {
    match (all, total) {
        (Value::Nil, _) => Ok(None),
        (_, Value::Nil) => Ok(Some(0)),
        (_, total) => number(total).map(Some),
    }
}

/// The history that a master serves; a replica carries its master's and must not be asked.
fn history_of_master(info: &str) -> Result<HistoryId> {
    match (info_field(info, "role"), info_field(info, "master_replid")) {
        (Some("master"), Some(id)) => Ok(id.to_owned()),
        _ => Err(unavailable("the server is a replica")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_master_tells_its_history() {
        let info = "# Replication\r\nrole:master\r\nmaster_replid:4f1e\r\n";
        assert_eq!(history_of_master(info).unwrap(), "4f1e");
        let info = "role:slave\r\nmaster_replid:4f1e\r\n";
        assert!(history_of_master(info).unwrap_err().is_transient());
    }
}
