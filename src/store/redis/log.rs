//! The groups' live logs as Redis Streams: [`Log`] over the functions and plain reads.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Pipeline, Value, cmd, pipe};

use super::entry;
use super::fault::{fault, unavailable};
use super::keys;
use super::library::Function;
use super::links::{Links, all};
use super::reply::{at, list, number, text};
use super::tail::RedisTail;
use super::{append, reopen};
use crate::model::event::Entry;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::{Epoch, Position};
use crate::store::Result;
use crate::store::log::{Append, Head, HistoryId, Log, Open, Opened, Outcome, Prepared, Tail};

/// The logs in one Redis.
#[derive(Debug, Clone)]
pub(super) struct RedisLog {
    links: Arc<Links>,
}

impl RedisLog {
    pub(super) const fn new(links: Arc<Links>) -> Self {
        Self { links }
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
        let answer = self.links.reads.command(&read).await.map_err(fault)?;
        entry::entries(&answer)
    }
}

#[async_trait]
impl Log for RedisLog {
    async fn append(&self, append: Append) -> Result<Outcome> {
        let call = append::call(&self.links.library, &append);
        let answer = self
            .links
            .call(self.links.of(append.draft.group), &call)
            .await?;
        append::outcome(&append, &answer)
    }

    async fn history(&self, _partition: Partition) -> Result<HistoryId> {
        let info = self
            .links
            .reads
            .command(cmd("INFO").arg("replication"))
            .await
            .map_err(fault)?;
        history_of_master(&info_text(&info)?)
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
        reopen::prepared(&self.links.call(self.links.of(group), &call).await?)
    }

    async fn open(&self, open: Open) -> Result<Opened> {
        let call = reopen::open(&self.links.library, &open);
        reopen::opened(&self.links.call(self.links.of(open.group), &call).await?)
    }

    async fn set_stored(&self, marks: &[(GroupId, Position)]) -> Result<()> {
        let mut calls = pipe();
        for (group, mark) in marks {
            let mut call = self
                .links
                .library
                .call(Function::Stored, &[keys::head(*group)]);
            call.arg(mark.to_string());
            calls.add_command(call);
        }
        self.links.call_all(&self.links.reads, &calls).await?;
        Ok(())
    }

    async fn tail(&self) -> Result<Box<dyn Tail>> {
        let mut tail = RedisTail::new(Arc::clone(&self.links));
        tail.connect().await?;
        Ok(Box::new(tail))
    }
}

/// The heads of `groups` in one write; with `member`, each with that member's own total.
pub(super) async fn heads(
    links: &Links,
    groups: &[GroupId],
    member: Option<UserId>,
) -> Result<Vec<Option<(Head, Option<u64>)>>> {
    let mut reads = pipe();
    for group in groups {
        read_head(&mut reads, *group, member);
    }
    let answers = all(links.reads.commands(&reads).await.map_err(fault)?)?;
    let per_group = if member.is_some() { 2 } else { 1 };
    answers.chunks(per_group).map(head).collect()
}

fn read_head(reads: &mut Pipeline, group: GroupId, member: Option<UserId>) {
    reads.cmd("GET").arg(keys::head(group));
    if let Some(member) = member {
        reads
            .cmd("HMGET")
            .arg(keys::own(group))
            .arg("all")
            .arg(member.as_bytes());
    }
}

fn head(answers: &[Value]) -> Result<Option<(Head, Option<u64>)>> {
    match at(answers, 0)? {
        Value::Nil => Ok(None),
        kept => {
            let own = answers.get(1).map(own).transpose()?.flatten();
            Ok(Some((entry::head(text(kept)?)?, own)))
        }
    }
}

/// An own total: 0 for one who never sent, nothing if the log lost count.
fn own(answer: &Value) -> Result<Option<u64>> {
    let fields = list(answer)?;
    match (at(fields, 0)?, at(fields, 1)?) {
        (Value::Nil, _) => Ok(None),
        (_, Value::Nil) => Ok(Some(0)),
        (_, total) => number(total).map(Some),
    }
}

/// The text of an `INFO`, which RESP3 sends as a verbatim string.
pub(super) fn info_text(info: &Value) -> Result<String> {
    match info {
        Value::VerbatimString { text, .. } => Ok(text.clone()),
        other => text(other).map(str::to_owned),
    }
}

/// The value of one line of an `INFO`.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
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
