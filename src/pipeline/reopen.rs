//! Opens a group's log under the epoch of its partition's fence (epochs.md rule 4): for a new
//! group, after a restart of the log, after a loss. For commands and consumers alike.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep};

use super::fences::Fences;
use super::mend::{Cut, Mended, Mender};
use super::totals::own_totals;
use crate::lifecycle::Tasks;
use crate::model::epoch::{EpochTable, Row};
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Epoch, Position, Seq};
use crate::model::time::Time;
use crate::store::directory::Directory;
use crate::store::epochs::{Epochs, Fence};
use crate::store::history::History;
use crate::store::log::{Log, Open, Opened, Prepared};
use crate::store::{Result, StoreError};

/// How long another opener of the same group may take before its epoch is passed over.
const OPENER_PATIENCE: Duration = Duration::from_millis(1500);

/// How often an opening by somebody else is looked for.
const OPENER_POLL: Duration = Duration::from_millis(50);

/// Groups that this node opens at the same time at most share one of this many turns.
const TURNS: usize = 64;

/// Opens logs, one group at a time.
pub struct Reopener {
    log: Arc<dyn Log>,
    epochs: Arc<dyn Epochs>,
    history: History,
    directory: Arc<dyn Directory>,
    fences: Arc<Fences>,
    mender: Mender,
    tasks: Tasks,
    turns: Vec<Arc<Mutex<()>>>,
}

/// What the store says about where the log goes on.
struct Plan {
    table: EpochTable,
    row: Row,
    /// Where the log goes on: at the row's start, or above what was stored under it already.
    start: Seq,
    /// Messages before that.
    count: u64,
    at: Time,
    stored: Position,
    own: Option<Vec<(UserId, u64)>>,
    /// Events that are nowhere any more.
    lost: u64,
}

/// What the log itself says of the group.
#[derive(Clone, Copy)]
struct Found {
    top: Option<Position>,
    remembers: bool,
    /// The message store is older than the log was told.
    is_older: bool,
}

impl Reopener {
    /// An opener over these stores.
    pub fn new(
        log: Arc<dyn Log>,
        epochs: Arc<dyn Epochs>,
        history: History,
        directory: Arc<dyn Directory>,
        fences: Arc<Fences>,
        mender: Mender,
        tasks: Tasks,
    ) -> Self {
        let turns = (0..TURNS).map(|_| Arc::default()).collect();
        Self {
            log,
            epochs,
            history,
            directory,
            fences,
            mender,
            tasks,
            turns,
        }
    }

    /// Opens the group's log under the fence's epoch, if that is still `named`. When it returns,
    /// either the log is open or the fence moved on: the caller looks again. An opening that has
    /// begun goes on when the caller gives up: half of one costs the epoch.
    ///
    /// # Errors
    /// A store does not answer. Nothing is lost by trying again.
    pub async fn reopen(self: &Arc<Self>, group: GroupId, named: Epoch) -> Result<()> {
        let turn = usize::from(group.as_bytes()[15]) % TURNS;
        let turn = Arc::clone(&self.turns[turn]).lock_owned().await;
        let (done, opened) = oneshot::channel();
        let opener = Arc::clone(self);
        self.tasks.spawn(async move {
            let _turn = turn;
            drop(done.send(opener.open_under(group, named).await));
        });
        opened
            .await
            .unwrap_or_else(|aborted| Err(interrupted(aborted)))
    }

    /// As [`Reopener::reopen`], under whatever epoch the fence names now.
    ///
    /// # Errors
    /// As [`Reopener::reopen`].
    pub async fn look_after(self: &Arc<Self>, group: GroupId) -> Result<()> {
        let fence = self.fences.get(group.partition()).await?;
        self.reopen(group, fence.epoch).await
    }

    async fn open_under(&self, group: GroupId, named: Epoch) -> Result<()> {
        loop {
            let fence = self.fences.get(group.partition()).await?;
            if fence.epoch != named || self.step(group, &fence).await? {
                return Ok(());
            }
        }
    }

    /// One try; answers whether the caller may look again.
    async fn step(&self, group: GroupId, fence: &Fence) -> Result<bool> {
        let partition = group.partition();
        let found = match self.log.prepare(group, &fence.history, fence.epoch).await? {
            Prepared::OtherHistory(history) => {
                self.fences.raise(partition, fence, &history).await?;
                return Ok(true);
            }
            Prepared::StaleEpoch => {
                self.fences.catch_up(partition, fence.epoch).await?;
                return Ok(true);
            }
            Prepared::Ready { top, remembers } if is_open(top, remembers, fence.epoch) => {
                return Ok(true);
            }
            Prepared::Ready { top, remembers } => Found {
                top,
                remembers,
                is_older: false,
            },
        };
        let is_older = self.fences.is_older(partition).await?;
        if self.fences.get(partition).await?.epoch != fence.epoch {
            return Ok(true);
        }
        let found = Found { is_older, ..found };
        let table = self.history.table(group).await?;
        match table.epoch() {
            epoch if epoch > fence.epoch => self.fences.read(partition).await.map(|_| true),
            epoch if epoch == fence.epoch => self.await_opener(group, fence).await.map(|()| true),
            _ => self.open(group, fence, table, found).await,
        }
    }

    /// The row of this epoch is there, but the log is not open: somebody may be about to open
    /// it. If not in time, the epoch is passed over: a group is opened once per epoch.
    async fn await_opener(&self, group: GroupId, fence: &Fence) -> Result<()> {
        let deadline = Instant::now() + OPENER_PATIENCE;
        while Instant::now() < deadline {
            let prepared = self.log.prepare(group, &fence.history, fence.epoch).await?;
            let Prepared::Ready { top, remembers } = prepared else {
                return Ok(());
            };
            if is_open(top, remembers, fence.epoch) {
                return Ok(());
            }
            sleep(OPENER_POLL).await;
        }
        self.fences
            .raise(group.partition(), fence, &fence.history)
            .await
            .map(|_| ())
    }

    /// Steps b to e of the rule; answers whether the log was opened.
    async fn open(
        &self,
        group: GroupId,
        fence: &Fence,
        table: EpochTable,
        found: Found,
    ) -> Result<bool> {
        let plan = match found.is_older {
            true => self.mended(group, fence.epoch, table, found).await?,
            false => Some(self.plan(group, fence.epoch, table, found).await?),
        };
        let Some(plan) = plan else { return Ok(false) };
        self.promise_again(group, &plan).await?;
        if !self
            .epochs
            .add_row(group, plan.table.last(), plan.row)
            .await?
        {
            return Ok(false);
        }
        self.tell_lost(group, &plan);
        if !found.is_older && !self.fences.confirm_and_tell(group.partition()).await? {
            return Ok(false);
        }
        let opened = self.log.open(Open {
            group,
            history: fence.history.clone(),
            epoch: fence.epoch,
            start: plan.start,
            count: plan.count,
            at: plan.at,
            stored: plan.stored,
            own: plan.own,
            expected_top: found.top,
            table: plan.table.rows().chain([plan.row]).collect(),
        });
        let opened = opened.await? == Opened::Yes;
        if opened {
            self.fences.metrics.groups_reopened.inc();
        }
        Ok(opened)
    }

    /// Of all who mend a group, who added the row says what is lost.
    fn tell_lost(&self, group: GroupId, plan: &Plan) {
        if plan.lost == 0 {
            return;
        }
        self.fences.metrics.events_lost.inc_by(plan.lost);
        tracing::error!(
            %group,
            lost = plan.lost,
            from = plan.row.start,
            upto = plan.start - 1,
            epoch = plan.row.epoch,
            "events that were stored are nowhere any more and are shown as lost"
        );
    }

    /// Makes the directory's events due again that this opening cuts off. Before the row is added,
    /// so that no opener can die between the two; [`super::outbox`] sees to what is marked later.
    async fn promise_again(&self, group: GroupId, plan: &Plan) -> Result<()> {
        if plan.table.last().is_none() {
            return Ok(());
        }
        let row = Position::new(plan.row.epoch, plan.row.start);
        let due = self.directory.cut_off(group, row).await?;
        if due > 0 {
            tracing::warn!(%group, %row, due, "changes of members were lost: they are appended again");
        }
        Ok(())
    }

    /// Where a log goes on of which the message store had lost some, once it is mended.
    async fn mended(
        &self,
        group: GroupId,
        epoch: Epoch,
        table: EpochTable,
        found: Found,
    ) -> Result<Option<Plan>> {
        let mended = self.mender.mend(group, epoch, table, found.top).await?;
        let Some(Mended { table, end, cut }) = mended else {
            return Ok(None);
        };
        let Some(Cut {
            row,
            count,
            at,
            own,
            lost,
        }) = cut
        else {
            return self.plan(group, epoch, table, found).await.map(Some);
        };
        Ok(Some(Plan {
            table,
            row,
            start: end + 1,
            count,
            at,
            stored: Position::new(epoch, end),
            own: Some(own.into_iter().collect()),
            lost,
        }))
    }

    /// Where the log goes on: after what the store holds without a hole and after what the log
    /// itself holds and may keep.
    async fn plan(
        &self,
        group: GroupId,
        epoch: Epoch,
        table: EpochTable,
        found: Found,
    ) -> Result<Plan> {
        let floor = self.floor(group, &table).await?;
        let stored = self.history.contiguous(group, &table, floor).await?;
        let top = found.top.filter(|top| table.is_valid_top(*top));
        let start = stored.seq.max(top.map_or(0, |top| top.seq)) + 1;
        let mut row = Row {
            epoch,
            start,
            count: 0,
        };
        let mut with_row: EpochTable = table.rows().chain([row]).collect();
        let bound = Position::new(epoch, start);
        let last = self
            .history
            .before(group, &mut with_row, Some(bound), 1)
            .await?;
        let last = last.first().filter(|entry| entry.pos.seq + 1 == start);
        row.count = last.map_or(0, |entry| entry.count);
        let at = last.map(|entry| entry.at).unwrap_or_default();
        // Totals are kept only with the entries that they count.
        let goes_on = found.remembers && top.is_some_and(|top| top.seq + 1 == start);
        let own = match goes_on {
            true => None,
            false => {
                let own =
                    own_totals(&self.history, group, &mut with_row, stored.seq, bound).await?;
                Some(own.into_iter().collect())
            }
        };
        Ok(Plan {
            table,
            start: row.start,
            count: row.count,
            row,
            at,
            stored,
            own,
            lost: 0,
        })
    }

    /// A position up to which everything valid is known to be stored.
    async fn floor(&self, group: GroupId, table: &EpochTable) -> Result<Position> {
        let head = self.log.head(group).await?;
        let stored = head.map(|head| head.stored);
        Ok(stored
            .filter(|pos| table.is_valid(*pos))
            .unwrap_or_default())
    }
}

/// The server stops.
fn interrupted(aborted: oneshot::error::RecvError) -> StoreError {
    StoreError::unavailable("log", aborted)
}

fn is_open(top: Option<Position>, remembers: bool, epoch: Epoch) -> bool {
    remembers && top.is_some_and(|top| top.epoch >= epoch)
}
