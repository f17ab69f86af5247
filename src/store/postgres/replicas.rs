//! Read replicas of the directory: lists of people are read from one that keeps up, so that the
//! primary is left to what must be true now. Everything else never comes here.
//!
//! A replica keeps up as long as it is known to hold all that the primary held a bounded time ago.
//! That is told by positions of the primary's log alone, so no two clocks are compared: the
//! primary's position is noted four times a second, and a replica is as far behind as the newest
//! of these that it has replayed is old. One that is away, lags, or is no replica any more is
//! passed over for the primary.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::directory::PgDirectory;
use crate::clock::every;
use crate::model::group::Member;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::user::User;
use crate::store::Result;
use crate::store::directory::Directory as _;
use crate::store::relational::engine::Engine as _;
use crate::store::relational::value::{Row, args};
use crate::store::roster::{Roster, Viewer};
use crate::telemetry::{Metrics, show_zero};

/// How often replicas are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a replica may take for an answer; then the primary is asked.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far behind a replica can be told to be.
const LAG_MAX: Duration = Duration::from_secs(60);

/// How many people's writes are remembered, for as long as a replica may be behind; some 100 bytes
/// each.
const WRITERS_MAX: u64 = 1_000_000;

/// Where the log of the primary ends.
const WRITTEN: &str = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint";

/// How much of it a replica has replayed; no row of a server that is none.
const REPLAYED: &str = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint
     WHERE pg_is_in_recovery()";

/// `$1` the group, `$2` and `$3` a position. One row if the event there, a change of rights, is
/// noted as appended, and nothing that was decided before is not. For a decision is committed
/// before its event is appended, which is before any later event is noted: so all changes up to
/// the position are in the tables.
const KNOWS: &str = "SELECT 1::bigint FROM groups g WHERE g.id = $1
     AND ($3 = 0 OR EXISTS (SELECT 1 FROM outbox o WHERE o.merchant_id = g.merchant_id
         AND o.group_id = g.id AND o.seq = $3 AND o.epoch = $2))
     AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.merchant_id = g.merchant_id
         AND o.group_id = g.id AND o.epoch IS NULL)";

/// What became of a read that a replica might have answered.
const REPLICA: &str = "replica";
const OWN_WRITE: &str = "own_write";
const BEHIND: &str = "behind";
const AWAY: &str = "away";
const FAILED: &str = "failed";
const RESULTS: [&str; 5] = [REPLICA, OWN_WRITE, BEHIND, AWAY, FAILED];

/// Options of `[postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// How far behind a replica may be, in milliseconds.
    pub replica_lag_ms_max: u64,
}

/// A [`Roster`] of replicas, and of the primary for what they cannot answer.
pub struct Replicas {
    primary: Database,
    replicas: Vec<Replica>,
    /// Whose turn it is.
    next: AtomicUsize,
    lag_max: Duration,
    /// Who wrote a moment ago.
    writers: Cache<UserId, ()>,
    metrics: Metrics,
}

struct Replica {
    database: Database,
    /// Until when it is known to be no more behind than it may be.
    fit_until: Mutex<Option<Instant>>,
    /// Its label, for operators.
    number: String,
}

/// Where the primary's log ended at some moments, oldest first.
#[derive(Default)]
struct Written(VecDeque<(Instant, i64)>);

impl Replicas {
    /// Replicas at `urls` of the primary that `primary` is connected to; none is used before it
    /// was looked at.
    ///
    /// # Errors
    /// `Failed` for an address that is none. A replica that is away is no error.
    pub fn new(
        primary: Database,
        urls: &[&str],
        options: &Options,
        metrics: Metrics,
    ) -> Result<Self> {
        let replica = |(number, url): (usize, &&str)| {
            Ok(Replica {
                database: Database::of_replica(url)?,
                fit_until: Mutex::default(),
                number: (number + 1).to_string(),
            })
        };
        let lag_max = Duration::from_millis(options.replica_lag_ms_max);
        for result in RESULTS {
            show_zero(&metrics.replica_reads, result);
        }
        Ok(Self {
            primary,
            replicas: urls
                .iter()
                .enumerate()
                .map(replica)
                .collect::<Result<_>>()?,
            next: AtomicUsize::new(0),
            lag_max,
            writers: Cache::builder()
                .max_capacity(WRITERS_MAX)
                .time_to_live(lag_max + LOOK)
                .build(),
            metrics,
        })
    }

    /// Looks at the replicas again and again, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut written = Written::default();
        let mut tick = every(LOOK);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let looking = self.look(&mut written);
            if stop.run_until_cancelled(looking).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self, written: &mut Written) {
        // What is replayed of this was written before now.
        let now = Instant::now();
        if let Some(end) = position(&self.primary, WRITTEN).await {
            written.note(now, end);
        }
        let looks = self.replicas.iter().map(|replica| async {
            let replayed = position(&replica.database, REPLAYED).await;
            let held = replayed.and_then(|replayed| written.when(replayed));
            *replica.fit_until() = held.map(|held| held + self.lag_max);
            let lag = held.map_or(LAG_MAX, |held| held.elapsed());
            let gauge = &self.metrics.replica_lag;
            gauge
                .with_label_values(&[&replica.number])
                .set(lag.as_secs_f64());
        });
        futures::future::join_all(looks).await;
    }

    /// A replica that keeps up, each in its turn, for somebody who wrote nothing that it may not
    /// have; else why there is none.
    fn fit(&self, viewer: UserId) -> std::result::Result<&Replica, &'static str> {
        if self.writers.contains_key(&viewer) {
            return Err(OWN_WRITE);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turns = (0..self.replicas.len()).map(|turn| first.wrapping_add(turn));
        let in_turn = turns.filter_map(|turn| self.replicas.get(turn % self.replicas.len()));
        let now = Instant::now();
        in_turn
            .into_iter()
            .find(|replica| replica.fit_until().is_some_and(|until| now < until))
            .ok_or(AWAY)
    }

    /// What a replica answers; `None` if the primary must be asked.
    async fn ask<T>(
        &self,
        viewer: UserId,
        read: impl AsyncFnOnce(&Database) -> Result<Option<T>>,
    ) -> Option<T> {
        let (result, answer) = match self.fit(viewer) {
            Err(reason) => (reason, None),
            Ok(replica) => match timeout(PATIENCE, read(&replica.database)).await {
                Ok(Ok(Some(answer))) => (REPLICA, Some(answer)),
                Ok(Ok(None)) => (BEHIND, None),
                Ok(Err(_)) | Err(_) => {
                    *replica.fit_until() = None;
                    (FAILED, None)
                }
            },
        };
        let reads = &self.metrics.replica_reads;
        reads.with_label_values(&[result]).inc();
        answer
    }
}

impl Replica {
    fn fit_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.fit_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn note(&mut self, now: Instant, end: i64) {
        self.0.push_back((now, end));
        while self.0.front().is_some_and(|(at, _)| now - *at > LAG_MAX) {
            self.0.pop_front();
        }
    }

    /// The newest known moment at which the primary had written no more than this.
    fn when(&self, replayed: i64) -> Option<Instant> {
        let newest = self.0.iter().rev().find(|(_, end)| *end <= replayed);
        newest.map(|(at, _)| *at)
    }
}

#[async_trait]
impl Roster for Replicas {
    async fn members(
        &self,
        group: GroupId,
        viewer: Viewer,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<Member>> {
        let read = async |replica: &Database| match knows(replica, group, viewer.rights).await? {
            true => {
                let directory = PgDirectory::new(replica.clone());
                directory.members(group, after, limit).await.map(Some)
            }
            false => Ok(None),
        };
        match self.ask(viewer.user, read).await {
            Some(members) => Ok(members),
            None => {
                let directory = PgDirectory::new(self.primary.clone());
                directory.members(group, after, limit).await
            }
        }
    }

    async fn names(&self, viewer: UserId, ids: &[UserId]) -> Result<Vec<User>> {
        let read = async |replica: &Database| {
            let users = PgDirectory::new(replica.clone()).users(ids).await?;
            // Who registered a moment ago may be missing there.
            Ok((users.len() == ids.len()).then_some(users))
        };
        match self.ask(viewer, read).await {
            Some(users) => Ok(users),
            None => PgDirectory::new(self.primary.clone()).users(ids).await,
        }
    }

    fn wrote(&self, user: UserId) {
        self.writers.insert(user, ());
    }
}

/// Whether a replica has every change of the group up to `rights`. Of a group whose rights are not
/// known, because its log is not, nothing can be said.
async fn knows(replica: &Database, group: GroupId, rights: Position) -> Result<bool> {
    if rights == Position::START {
        return Ok(false);
    }
    let Position { epoch, seq } = rights;
    let rows = replica.read(KNOWS, args![group, epoch, seq]).await?;
    Ok(!rows.is_empty())
}

/// A position of the log; `None` if none is told in time.
async fn position(database: &Database, sql: &'static str) -> Option<i64> {
    let rows = timeout(PATIENCE, database.read(sql, args![])).await;
    let row = rows.ok()?.ok()?.into_iter().next()?;
    Row::only(row).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_as_far_behind_as_the_newest_it_has_is_old() {
        let (mut written, start) = (Written::default(), Instant::now());
        let second = |number: u64| start + Duration::from_secs(number);
        assert_eq!(written.when(i64::MAX), None, "nothing is known yet");
        written.note(second(0), 100);
        written.note(second(1), 100);
        written.note(second(2), 250);
        assert_eq!(written.when(99), None);
        assert_eq!(written.when(100), Some(second(1)));
        assert_eq!(written.when(249), Some(second(1)));
        assert_eq!(written.when(250), Some(second(2)));
        assert_eq!(written.when(900), Some(second(2)));
    }

    #[test]
    fn moments_that_are_too_old_to_matter_are_forgotten() {
        let (mut written, start) = (Written::default(), Instant::now());
        for number in 0..1_000_u32 {
            written.note(start + LOOK * number, i64::from(number));
        }
        assert!(written.0.len() <= 241, "{}", written.0.len());
    }
}
