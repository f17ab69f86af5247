//! The connections of one process: several for appends, one for reads, one for consumers.

use redis::{Cmd, Pipeline, RedisResult, Value};

use super::dial::Dial;
use super::fault::{fault, lacks_function};
use super::library::Library;
use super::link::Link;
use super::options::Options;
use crate::model::id::GroupId;
use crate::store::Result;

/// All ordinary connections, and the functions that are called over them.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) dial: Dial,
    pub(super) library: Library,
    /// Appends and openings; a group always takes the same one.
    ordered: Vec<Link>,
    /// Reads and small writes about many groups, so that a long answer delays no append.
    pub(super) reads: Link,
    /// What consumers take, acknowledge and lease.
    pub(super) consumers: Link,
}

impl Links {
    pub(super) fn new(dial: Dial, options: &Options) -> Self {
        let link = || Link::new(dial.clone());
        Self {
            library: Library::new(),
            ordered: (0..options.connections.clamp(1, 64))
                .map(|_| link())
                .collect(),
            reads: link(),
            consumers: link(),
            dial,
        }
    }

    /// The connection of a group.
    pub(super) fn of(&self, group: GroupId) -> &Link {
        let index = usize::from(group.partition().0) % self.ordered.len();
        self.ordered.get(index).unwrap_or(&self.reads)
    }

    /// Loads the functions.
    pub(super) async fn load(&self, link: &Link) -> Result<()> {
        link.command(&self.library.load()).await.map_err(fault)?;
        Ok(())
    }

    /// Calls a function. A server that lacks it did nothing: it is given the functions, and the
    /// call is made again.
    pub(super) async fn call(&self, link: &Link, call: &Cmd) -> Result<Value> {
        let answer = link.command(call).await;
        if !lacks_function(&answer) {
            return answer.map_err(fault);
        }
        self.load(link).await?;
        link.command(call).await.map_err(fault)
    }

    /// Calls functions that may be repeated, in one write.
    pub(super) async fn call_all(&self, link: &Link, calls: &Pipeline) -> Result<Vec<Value>> {
        let answers = each(link.commands(calls).await.map_err(fault)?);
        if answers.iter().any(lacks_function) {
            self.load(link).await?;
            return all(link.commands(calls).await.map_err(fault)?);
        }
        answers
            .into_iter()
            .map(|answer| answer.map_err(fault))
            .collect()
    }
}

/// The answers of a pipeline, each with its own error.
pub(super) fn each(answers: Vec<Value>) -> Vec<RedisResult<Value>> {
    answers.into_iter().map(Value::extract_error).collect()
}

/// The answers of a pipeline, or the first error.
pub(super) fn all(answers: Vec<Value>) -> Result<Vec<Value>> {
    answers
        .into_iter()
        .map(|answer| answer.extract_error().map_err(fault))
        .collect()
}
