//! Calls to whichever server has what they are about.
//!
//! A call that was refused unread, because a server lacks the functions or is not the one to ask,
//! is made again after that was mended. One whose answer was lost never is.

use std::sync::Arc;

use futures::future::join_all;
use redis::{Cmd, Pipeline, RedisResult, ServerErrorKind, Value};

use super::fault::{fault, is_answer_of, lacks_function};
use super::library::Library;
use super::topology::Topology;
use super::topology::home::Home;
use super::topology::link::Link;
use super::topology::map::Map;
use super::topology::shard::Lane;
use crate::store::{Result, StoreError};

/// How often one call is made: it may meet a server that has moved what it is about, and then one
/// that lacks the functions.
const TRIES: u32 = 3;

/// What a call is about, and the call.
pub(super) type HomeCall = (Home, Cmd);

/// All ordinary connections, and the functions that are called over them.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) topology: Arc<Topology>,
    pub(super) library: Library,
}

/// Why a server did not even begin with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoFunctions,
    Elsewhere,
}

impl Links {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        Self {
            topology,
            library: Library::new(),
        }
    }

    /// Loads the functions into the server of a link.
    pub(super) async fn load(&self, link: &Link) -> RedisResult<()> {
        link.command(&self.library.load()).await?;
        Ok(())
    }

    /// Makes a call about `home`.
    pub(super) async fn call(
        &self,
        lane: Lane,
        home: impl Into<Home>,
        call: &Cmd,
    ) -> Result<Value> {
        let home = home.into();
        let mut tries = 1;
        loop {
            let map = self.topology.map();
            let link = map.shard(home).link(lane, home);
            let answer = link.command(call).await;
            match refusal(&answer).filter(|_| tries < TRIES) {
                Some(Refusal::NoFunctions) => self.load(link).await.map_err(fault)?,
                Some(Refusal::Elsewhere) => self.topology.look(&map).await.map_err(fault)?,
                None => {
                    let answer = answer.map_err(fault);
                    if answer.as_ref().is_err_and(StoreError::is_transient) {
                        self.topology.doubt();
                    }
                    return answer;
                }
            }
            tries += 1;
        }
    }

    /// Makes calls that do not depend on each other, in one write to each server; answers in
    /// their order. Where one server fails, the others' answers are there. Not for
    /// [`Lane::Ordered`], whose calls keep the order of their homes.
    pub(super) async fn each(&self, lane: Lane, calls: &[HomeCall]) -> Vec<RedisResult<Value>> {
        let mut answers = vec![Ok(Value::Nil); calls.len()];
        let mut left: Vec<usize> = (0..calls.len()).collect();
        for tries in 1..=TRIES {
            let map = self.topology.map();
            let sent = spread(&map, calls, &left);
            let sending = sent.iter().filter_map(|(shard, indices)| {
                let link = map.shards().get(*shard)?.link(lane, Home::Leases);
                Some(send(link, calls, indices))
            });
            for (index, answer) in join_all(sending).await.into_iter().flatten() {
                if let Some(place) = answers.get_mut(index) {
                    *place = answer;
                }
            }
            left.retain(|index| answers.get(*index).and_then(refusal).is_some());
            if left.is_empty() || tries == TRIES {
                break;
            }
            if self.mend(lane, &map, calls, &left, &answers).await.is_err() {
                break;
            }
        }
        if answers.iter().any(is_transient) {
            self.topology.doubt();
        }
        answers
    }

    /// As [`Links::each`], or the first error.
    pub(super) async fn all(&self, lane: Lane, calls: &[HomeCall]) -> Result<Vec<Value>> {
        let answers = self.each(lane, calls).await.into_iter();
        answers.map(|answer| answer.map_err(fault)).collect()
    }

    /// Does what those that were refused need.
    async fn mend(
        &self,
        lane: Lane,
        map: &Arc<Map>,
        calls: &[HomeCall],
        left: &[usize],
        answers: &[RedisResult<Value>],
    ) -> RedisResult<()> {
        let is = |index: &usize, wanted| answers.get(*index).and_then(refusal) == Some(wanted);
        if left.iter().any(|index| is(index, Refusal::Elsewhere)) {
            self.topology.look(map).await?;
        }
        let lacking = left.iter().filter(|index| is(index, Refusal::NoFunctions));
        let lacking: Vec<usize> = lacking.copied().collect();
        for (shard, _) in spread(map, calls, &lacking) {
            if let Some(shard) = map.shards().get(shard) {
                self.load(shard.link(lane, Home::Leases)).await?;
            }
        }
        Ok(())
    }
}

/// Which of the calls at `left` go to which server.
fn spread(map: &Map, calls: &[HomeCall], left: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let mut spread: Vec<(usize, Vec<usize>)> = Vec::new();
    for index in left {
        let Some((home, _)) = calls.get(*index) else {
            continue;
        };
        let shard = map.index(*home);
        match spread.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, indices)) => indices.push(*index),
            None => spread.push((shard, vec![*index])),
        }
    }
    spread
}

/// Makes some of the calls in one write.
async fn send(
    link: &Link,
    calls: &[HomeCall],
    indices: &[usize],
) -> Vec<(usize, RedisResult<Value>)> {
    let chosen = indices.iter().filter_map(|index| calls.get(*index));
    let answers = link.commands(&pipeline(chosen.map(|(_, call)| call))).await;
    match answers {
        Ok(answers) => indices.iter().copied().zip(each(answers)).collect(),
        Err(error) => {
            let failed = indices.iter().map(|index| (*index, Err(error.clone())));
            failed.collect()
        }
    }
}

/// The answers of a pipeline, each with its own error.
pub(super) fn each(answers: Vec<Value>) -> impl Iterator<Item = RedisResult<Value>> {
    answers.into_iter().map(Value::extract_error)
}

/// Commands for one write.
pub(super) fn pipeline<'a>(commands: impl Iterator<Item = &'a Cmd>) -> Pipeline {
    let mut pipeline = redis::pipe();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    pipeline
}

fn refusal(answer: &RedisResult<Value>) -> Option<Refusal> {
    if lacks_function(answer) {
        Some(Refusal::NoFunctions)
    } else if is_answer_of(answer, ServerErrorKind::Moved) {
        Some(Refusal::Elsewhere)
    } else {
        None
    }
}

fn is_transient(answer: &RedisResult<Value>) -> bool {
    let error = answer.as_ref().err();
    error.is_some_and(|error| fault(error.clone()).is_transient())
}
