//! `qunliu dead-letters …`: lists the events that a consumer could not handle, and has them handled
//! again, beside a running server or without one. It opens only the store of the messages.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Exit, options, print, serve};
use crate::config::Config;
use crate::model::id::GroupId;
use crate::pipeline::replay::{Replay, Replayed};
use crate::server::{self, StartError};
use crate::store::StoreError;
use crate::store::consumers::Consumer;
use crate::store::dead_letters::{DeadLetters, Letter, LetterId, Page};

/// Letters read from the store at a time.
const PAGE: usize = 200;

/// Its arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    options: options::Options,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell which letters there are, one on a line.
    List {
        /// Only of this consumer.
        #[arg(long, value_parser = consumer)]
        consumer: Option<Consumer>,
        /// Only of this group.
        #[arg(long)]
        group: Option<GroupId>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// One JSON object on a line instead.
        #[arg(long)]
        json: bool,
    },
    /// Have letters handled again; one that was handled is taken away.
    Replay {
        /// The letter, as `list` names it.
        #[arg(
            value_name = "ID",
            required_unless_present = "all",
            conflicts_with = "all"
        )]
        id: Option<LetterId>,
        /// All letters.
        #[arg(long)]
        all: bool,
        /// With `--all`: only of this consumer.
        #[arg(long, conflicts_with = "id", value_parser = consumer)]
        consumer: Option<Consumer>,
    },
}

/// A consumer, by its name in metrics.
fn consumer(name: &str) -> Result<Consumer, String> {
    let names: Vec<_> = Consumer::ALL.iter().map(|one| one.name()).collect();
    Consumer::named(name).ok_or_else(|| format!("there are {}", names.join(" and ")))
}

/// Why not all was done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no letter {0}")]
    NoLetter(LetterId),
    #[error("{0} of the letters stay")]
    Stay(usize),
}

/// Does it; what became of each letter goes to standard output.
pub async fn run(args: Args) -> ExitCode {
    let Args { options, action } = args;
    let act = async |config: &Config| Box::pin(act(action, config)).await;
    let exit_of = |failure: &Failure| match failure {
        Failure::Start(error) => serve::exit_of(error),
        Failure::Store(_) | Failure::Stay(_) => Exit::Unavailable,
        Failure::NoLetter(_) => Exit::Usage,
    };
    options.run(act, exit_of).await
}

async fn act(action: Action, config: &Config) -> Result<(), Failure> {
    let work = async |replay: Replay| match action {
        Action::List {
            consumer,
            group,
            limit,
            json,
        } => list(&*replay.dead_letters, &wanted(consumer), group, limit, json).await,
        Action::Replay { id: Some(id), .. } => replay_one(&replay, id).await,
        Action::Replay { consumer, .. } => replay_all(&replay, &wanted(consumer)).await,
    };
    server::with_replay(config, work).await?
}

fn wanted(consumer: Option<Consumer>) -> Vec<Consumer> {
    consumer.map_or_else(|| Consumer::ALL.to_vec(), |one| vec![one])
}

async fn list(
    letters: &dyn DeadLetters,
    consumers: &[Consumer],
    group: Option<GroupId>,
    limit: usize,
    json: bool,
) -> Result<(), Failure> {
    let mut left = limit;
    for consumer in consumers {
        let mut after = None;
        while left > 0 {
            let page = page(*consumer, group, after, left.min(PAGE));
            let listed = letters.list(page).await?;
            let Some(last) = listed.last() else {
                break;
            };
            after = Some(last.id);
            left -= listed.len();
            listed.iter().for_each(|letter| print(&line(letter, json)));
        }
    }
    Ok(())
}

const fn page(
    consumer: Consumer,
    group: Option<GroupId>,
    after: Option<LetterId>,
    limit: usize,
) -> Page {
    Page {
        consumer,
        group,
        after,
        limit,
    }
}

/// Reasons may quote what was unreadable: nothing of it may move the operator's terminal.
fn line(letter: &Letter, is_json: bool) -> String {
    let Letter {
        id,
        at,
        reason,
        bytes,
    } = letter;
    if is_json {
        let json = json!({
            "id": id.to_string(),
            "consumer": id.consumer.name(),
            "group": id.group,
            "pos": id.pos,
            "at": at,
            "bytes": bytes,
            "reason": reason,
        });
        return json.to_string();
    }
    format!("{id}  {at}  {bytes} bytes  {}", reason.escape_debug())
}

async fn replay_one(replay: &Replay, id: LetterId) -> Result<(), Failure> {
    let replayed = replay.replay(id).await?;
    report(id, &replayed);
    match replayed {
        Replayed::Handled => Ok(()),
        Replayed::NoLetter => Err(Failure::NoLetter(id)),
        Replayed::Stays(_) => Err(Failure::Stay(1)),
    }
}

/// Letters that come meanwhile may be replayed or not.
async fn replay_all(replay: &Replay, consumers: &[Consumer]) -> Result<(), Failure> {
    let mut staying = 0;
    for consumer in consumers {
        let mut after = None;
        loop {
            let listed = replay
                .dead_letters
                .list(page(*consumer, None, after, PAGE))
                .await?;
            for letter in &listed {
                let replayed = replay.replay(letter.id).await?;
                report(letter.id, &replayed);
                staying += usize::from(matches!(replayed, Replayed::Stays(_)));
            }
            match listed.last() {
                Some(last) => after = Some(last.id),
                None => break,
            }
        }
    }
    match staying {
        0 => Ok(()),
        some => Err(Failure::Stay(some)),
    }
}

fn report(id: LetterId, replayed: &Replayed) {
    match replayed {
        Replayed::Handled => print(&format!("{id}  handled, and taken away")),
        Replayed::NoLetter => print(&format!("{id}  is not there")),
        Replayed::Stays(reason) => print(&format!("{id}  stays: {}", reason.escape_debug())),
    }
}
