//! Parts of the server over real stores, put together by hand: what a whole server shows only when
//! a store hangs or a node lags at the right moment. The stores are embedded; where a log must be
//! ahead of the message store, the log is a Redis.

mod appending;
mod counting;
mod losses;
mod opening;
mod passing;
mod permits;
mod persisting;
mod promising;
mod pushing;
mod readiness;
mod receipts;
mod refusing;
mod resuming;
mod restoring;
mod running;
mod tailing;
mod telling;

use std::sync::Arc;

use qunliu::clock::ManualClock;
use qunliu::lifecycle::Tasks;
use qunliu::model::event::{Draft, Fixed};
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::model::trace::{Trace, TraceId};
use qunliu::pipeline::append::{Appender, Attempt, Placed, Request};
use qunliu::pipeline::fences::Fences;
use qunliu::pipeline::mend::Mender;
use qunliu::pipeline::reopen::Reopener;
use qunliu::store::embedded::cards::NoCards;
use qunliu::store::embedded::directory::SqliteDirectory;
use qunliu::store::embedded::stores::EmbeddedStores;
use qunliu::store::epochs::Fence;
use qunliu::store::history::History;
use qunliu::store::log::{Log, Receipt};
use qunliu::telemetry::Metrics;
use qunliu::traces::Traces;

use crate::support::door::{Door, EpochsBehindDoor, LogBehindDoors};
use crate::support::embedded::open;
use crate::support::folder::Folder;
use crate::support::logs::AT;
use crate::support::redis::{Process, RedisServer};

/// The write path of one node over a file of its own.
struct Node {
    stores: EmbeddedStores,
    directory: Arc<SqliteDirectory>,
    log: Arc<LogBehindDoors>,
    epochs: Arc<EpochsBehindDoor>,
    history: History,
    fences: Arc<Fences>,
    reopener: Arc<Reopener>,
    appender: Arc<Appender>,
    metrics: Metrics,
    traces: Traces,
    tasks: Tasks,
    _folder: Folder,
}

impl Node {
    async fn new() -> Self {
        let folder = Folder::new();
        let stores = open(&folder.file()).await;
        Self::over(stores.log.clone(), stores, folder)
    }

    /// With its log in a Redis, which goes with the second part; `None` if there is none.
    async fn on_redis() -> Option<(Self, (Process, RedisServer))> {
        let server = RedisServer::start().await?;
        let process = server.process().await;
        let folder = Folder::new();
        let stores = open(&folder.file()).await;
        let node = Self::over(process.stores.log.clone(), stores, folder);
        Some((node, (process, server)))
    }

    fn over(log: Arc<dyn Log>, stores: EmbeddedStores, folder: Folder) -> Self {
        let log = Arc::new(LogBehindDoors {
            log,
            history: Door::default(),
            heads: Door::default(),
            append: Door::default(),
            open: Door::default(),
            stored: Door::default(),
        });
        let epochs = Arc::new(EpochsBehindDoor {
            epochs: stores.epochs.clone(),
            raise: Door::default(),
        });
        let (metrics, tasks) = (Metrics::new().unwrap(), Tasks::default());
        let traces = Traces::off(Arc::new(ManualClock::at(AT)));
        let messages = stores.messages.clone();
        let history = History::new(log.clone(), messages.clone(), epochs.clone());
        let directory = Arc::new(SqliteDirectory::new(stores.database.clone()));
        let fences = Arc::new(Fences::new(epochs.clone(), log.clone(), metrics.clone()));
        let mender = Mender {
            log: log.clone(),
            messages: messages.clone(),
            epochs: epochs.clone(),
            history: history.clone(),
            unread: stores.unread.clone(),
            cards: Arc::new(NoCards),
        };
        let reopener = Arc::new(Reopener::new(
            log.clone(),
            epochs.clone(),
            history.clone(),
            directory.clone(),
            fences.clone(),
            mender,
            tasks.clone(),
        ));
        let appender = Arc::new(Appender::new(
            log.clone(),
            messages,
            history.clone(),
            fences.clone(),
            reopener.clone(),
            metrics.clone(),
            traces.clone(),
        ));
        Self {
            stores,
            directory,
            log,
            epochs,
            history,
            fences,
            reopener,
            appender,
            metrics,
            traces,
            tasks,
            _folder: folder,
        }
    }

    /// Appends a new event, which must succeed.
    async fn append(&self, group: GroupId, fixed: Fixed) -> Receipt {
        match self.appender.append(&first(group, fixed)).await {
            Ok(Placed::New(receipt)) => receipt,
            other => panic!("expected an append, got {other:?}"),
        }
    }

    /// Copies to the message store what persisting would have stored of a log; answers its last
    /// position.
    async fn store_all(&self, group: GroupId) -> Position {
        let log = self.log.log.range(group, Position::START, None, 99);
        let entries = log.await.unwrap().into_iter();
        let entries: Vec<_> = entries.map(|entry| (group, entry)).collect();
        self.stores.messages.insert(&entries).await.unwrap();
        entries.last().unwrap().1.pos
    }

    /// Begins another epoch of the group's partition, as a node does that meets a loss.
    async fn raise(&self, group: GroupId) -> Fence {
        let partition = group.partition();
        let seen = self.fences.get(partition).await.unwrap();
        let raised = self.fences.raise(partition, &seen, &seen.history).await;
        let raised = raised.unwrap();
        assert_eq!(raised.epoch, seen.epoch + 1);
        raised
    }
}

/// What appends belong to where nobody looks.
const TRACE: Trace = Trace {
    id: TraceId([1; 16]),
    span: [1; 8],
    is_sampled: false,
};

/// The request of an event of which nothing is known yet.
fn first(group: GroupId, fixed: Fixed) -> Request {
    Request {
        draft: Draft { group, fixed },
        rights: None,
        attempt: Attempt::Unknown,
        trace: TRACE,
    }
}
