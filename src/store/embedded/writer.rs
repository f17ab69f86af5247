//! Group commit: every write of the log, the consumers, the epochs and the unread counts goes
//! through one bounded queue, and all that waits is committed in one transaction. A commit costs
//! an fsync however much it holds, so throughput rises with the load.
//!
//! In: [`Write`]s. Out: their answers, after the commit that made them durable, and a ring of
//! the doorbell. A full queue waits. The committing task lives only while there is something to
//! write, so that it neither ends before those who need it nor holds up a stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::batch::{Batch, SentKey};
use super::database::{Database, unavailable};
use super::doorbell::Doorbell;
use crate::lifecycle::Tasks;
use crate::model::causes::full_text;
use crate::store::{Result, StoreError};

/// How many writes may wait; a further one waits for room. With entries of a few hundred bytes
/// that is below 1 MiB, with the longest of all 160 MiB.
const QUEUE_MAX: usize = 1024;

/// How many writes one transaction takes: enough to make the fsync cheap for each, and few
/// enough that none of them waits long.
const BATCH_MAX: usize = 256;

/// One write. `apply` may run twice, each time on a fresh transaction: it must depend on nothing
/// but the write and the batch.
#[async_trait]
pub(super) trait Write: Send + Sync + 'static {
    /// What the caller is told after the commit.
    type Answer: Send + Sync;

    /// The send that `apply` will ask the memory for, so that a batch can look up all at once.
    fn looks_up(&self) -> Option<SentKey> {
        None
    }

    /// Does the write within the batch. An error undoes the whole batch, after which every
    /// write of it is tried alone.
    async fn apply(&self, batch: &mut Batch) -> Result<Self::Answer>;
}

/// Takes writes. Cheap to clone; all clones are one queue.
#[derive(Clone)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    tasks: Tasks,
}

struct Shared {
    database: Database,
    doorbell: Arc<Doorbell>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    /// Whether a task is committing; it looks at the queue again before it ends.
    is_served: bool,
}

impl Writer {
    /// A writer to this file that rings this doorbell.
    pub(super) fn new(database: Database, doorbell: Arc<Doorbell>, tasks: Tasks) -> Self {
        let shared = Shared {
            database,
            doorbell,
            queue: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            room: Arc::new(Semaphore::new(QUEUE_MAX)),
            tasks,
        }
    }

    /// Queues a write, in the order of the calls, and waits until it is durable. Dropping the
    /// future leaves the outcome unknown.
    ///
    /// # Errors
    /// `Unavailable` when the commit failed: the outcome is unknown; else what `apply` said.
    pub(super) async fn run<W: Write>(&self, write: W) -> Result<W::Answer> {
        // Not even tokio's budget for cooperation may hold back one call and let a later one
        // pass: the order of the first polls is the order of the writes.
        let room = tokio::task::unconstrained(self.room.clone().acquire_owned());
        let room = room.await.map_err(unavailable)?;
        let (to, answer) = oneshot::channel();
        let job = Pending {
            write,
            answer: None,
            to,
            _room: room,
        };
        if self.shared.push(Box::new(job)) {
            let service = Service {
                shared: self.shared.clone(),
                is_over: false,
            };
            self.tasks.spawn(service.run());
        }
        answer.await.unwrap_or_else(|gone| Err(unavailable(gone)))
    }
}

impl Shared {
    /// Queues a job; answers whether the caller must see to it that the queue is served.
    fn push(&self, job: Box<dyn Job>) -> bool {
        let mut queue = self.lock();
        queue.jobs.push_back(job);
        !std::mem::replace(&mut queue.is_served, true)
    }

    /// The next batch; `None` when nothing waits, and then nobody serves the queue any more.
    fn next_batch(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut queue = self.lock();
        let size = queue.jobs.len().min(BATCH_MAX);
        queue.is_served = size > 0;
        queue.is_served.then(|| queue.jobs.drain(..size).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits batches until nothing waits. If it is dropped before that, by an abort or a panic,
/// everyone who waits is told that the outcome is unknown, and the next write begins anew.
struct Service {
    shared: Arc<Shared>,
    is_over: bool,
}

impl Service {
    async fn run(mut self) {
        while let Some(jobs) = self.shared.next_batch() {
            self.shared.commit_all(jobs).await;
            // Those who were just answered often write again at once: let them, so that the
            // next commit serves them all and not the first few.
            tokio::task::yield_now().await;
        }
        self.is_over = true;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !self.is_over {
            *self.shared.lock() = Queue::default();
        }
    }
}

/// Why a batch was not committed.
enum Failure {
    /// One of its writes could not be applied; nothing was written.
    Apply(StoreError),
    /// The transaction did not begin, or its commit failed: the outcome is unknown.
    Commit(StoreError),
}

impl Shared {
    /// Commits the jobs together; if one of them cannot be applied, each alone, so that it
    /// fails for itself only.
    async fn commit_all(&self, mut jobs: Vec<Box<dyn Job>>) {
        match self.commit(&mut jobs).await {
            Err(Failure::Apply(_)) if jobs.len() > 1 => {
                for job in jobs {
                    let mut alone = vec![job];
                    let outcome = self.commit(&mut alone).await;
                    settle(alone, &outcome);
                }
            }
            outcome => settle(jobs, &outcome),
        }
    }

    async fn commit(&self, jobs: &mut [Box<dyn Job>]) -> std::result::Result<(), Failure> {
        let batch = Batch::begin(&self.database).await;
        let mut batch = batch.map_err(Failure::Commit)?;
        apply_all(jobs, &mut batch).await.map_err(Failure::Apply)?;
        let rung = batch.commit().await.map_err(Failure::Commit)?;
        self.doorbell.ring(&rung);
        Ok(())
    }
}

async fn apply_all(jobs: &mut [Box<dyn Job>], batch: &mut Batch) -> Result<()> {
    let sends: Vec<_> = jobs.iter().filter_map(|job| job.looks_up()).collect();
    batch.know_sent(&sends).await?;
    for job in jobs {
        job.apply(batch).await?;
    }
    batch.flush().await
}

fn settle(jobs: Vec<Box<dyn Job>>, outcome: &std::result::Result<(), Failure>) {
    for job in jobs {
        job.settle(match outcome {
            Ok(()) => Ok(()),
            Err(Failure::Apply(error)) => Err(copy(error)),
            Err(Failure::Commit(error)) => Err(unavailable(full_text(error))),
        });
    }
}

/// The same error for another caller; its causes become text.
fn copy(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { .. } => unavailable(full_text(error)),
        StoreError::Failed { store, .. } => StoreError::Failed {
            store,
            source: full_text(error).into(),
        },
        StoreError::Corrupt { store, what } => StoreError::Corrupt {
            store,
            what: what.clone(),
        },
    }
}

/// A write with whoever waits for it, whatever its answer is.
#[async_trait]
trait Job: Send + Sync {
    fn looks_up(&self) -> Option<SentKey>;

    async fn apply(&mut self, batch: &mut Batch) -> Result<()>;

    /// Answers the caller, who may be gone.
    fn settle(self: Box<Self>, committed: Result<()>);
}

struct Pending<W: Write> {
    write: W,
    answer: Option<W::Answer>,
    to: oneshot::Sender<Result<W::Answer>>,
    _room: OwnedSemaphorePermit,
}

#[async_trait]
impl<W: Write> Job for Pending<W> {
    fn looks_up(&self) -> Option<SentKey> {
        self.write.looks_up()
    }

    async fn apply(&mut self, batch: &mut Batch) -> Result<()> {
        self.answer = Some(self.write.apply(batch).await?);
        Ok(())
    }

    fn settle(self: Box<Self>, committed: Result<()>) {
        let Self { answer, to, .. } = *self;
        let told = committed.map(|()| answer.expect("what was committed was applied before"));
        drop(to.send(told));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::client_id::ClientId;
    use crate::model::id::{GroupId, Partition};

    /// Announces an epoch, unless it is made to fail.
    struct Announce {
        epoch: u64,
        fault: Fault,
    }

    enum Fault {
        None,
        Refused,
        Panic,
    }

    #[async_trait]
    impl Write for Announce {
        type Answer = u64;

        async fn apply(&self, batch: &mut Batch) -> Result<u64> {
            batch.announce(Partition(0), self.epoch).await?;
            match self.fault {
                Fault::None => Ok(self.epoch),
                Fault::Refused => Err(unavailable("refused")),
                Fault::Panic => panic!("a fault of the program"),
            }
        }
    }

    fn announce(epoch: u64, fault: Fault) -> Announce {
        Announce { epoch, fault }
    }

    /// A folder that is removed with what is in it.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    async fn new_writer() -> (Writer, Database, Folder) {
        let name = format!("qunliu-{}", ClientId::random());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).unwrap();
        let database = Database::open(&folder.0.join("qunliu.db")).await.unwrap();
        let doorbell = Arc::new(Doorbell::default());
        let writer = Writer::new(database.clone(), doorbell, Tasks::default());
        (writer, database, folder)
    }

    async fn announced(database: &Database) -> u64 {
        let mut batch = Batch::begin(database).await.unwrap();
        let group = GroupId::from_bytes([0; 16]);
        batch.know_heads(&[group]).await.unwrap();
        batch.announced(group)
    }

    #[tokio::test]
    async fn a_write_that_cannot_be_applied_fails_for_itself_only() {
        let (writer, database, _folder) = new_writer().await;
        let held = database.begin().await.unwrap();
        let first = writer.run(announce(1, Fault::None));
        let bad = writer.run(announce(9, Fault::Refused));
        let last = writer.run(announce(2, Fault::None));
        let release = async { drop(held) };
        let (first, bad, last, ()) = tokio::join!(first, bad, last, release);
        assert_eq!((first.unwrap(), last.unwrap()), (1, 2));
        assert!(bad.unwrap_err().to_string().contains("does not answer"));
        assert_eq!(announced(&database).await, 2);
    }

    #[tokio::test]
    async fn a_panic_is_told_to_those_who_wait_and_stops_no_later_write() {
        let (writer, database, _folder) = new_writer().await;
        let failed = writer.run(announce(9, Fault::Panic)).await;
        assert!(failed.unwrap_err().is_transient());
        assert_eq!(writer.run(announce(3, Fault::None)).await.unwrap(), 3);
        assert_eq!(announced(&database).await, 3);
    }
}
