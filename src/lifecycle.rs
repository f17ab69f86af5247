//! The only spawner. Stopping has two steps: `drain` asks every task to finish what it holds,
//! `abort` ends those that have not by the deadline.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every task ended by itself.
    Drained,
    /// The deadline or a second signal came first.
    Aborted,
}

/// Spawns tasks and ends them. Cheap to clone; all clones are one set of tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// Spawns a task that may end at any time: a session, a connection. It is dropped at its
    /// next await when the server aborts.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let abort = self.abort.clone();
        // Boxed: a task that is moved into the select below would be kept with room for two of it.
        let task = Box::pin(task);
        self.run(async move {
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Spawns a task without which the server is not whole: a consumer, a tail. If it ends or
    /// panics before draining began, the whole server stops, for something crashed.
    pub fn spawn_vital<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let alarm = Alarm {
            name,
            tasks: self.clone(),
        };
        self.spawn(async move {
            let _alarm = alarm;
            task.await;
        });
    }

    #[expect(clippy::disallowed_methods, reason = "lifecycle is the only spawner")]
    fn run<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Runs `work` on the blocking pool, for what would hold up the async threads.
    ///
    /// # Errors
    /// The work panicked.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, tokio::task::JoinError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        tokio::task::spawn_blocking(work).await
    }

    /// Cancelled when draining begins.
    pub const fn draining(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled when a vital task ended too early.
    pub const fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Drains, waits up to `deadline` or until `hurry` resolves, then aborts what is left.
    pub async fn stop(&self, deadline: Duration, hurry: impl Future<Output = ()>) -> Stopped {
        self.tracker.close();
        self.drain.cancel();
        let stopped = tokio::select! {
            biased;
            () = self.tracker.wait() => Stopped::Drained,
            () = tokio::time::sleep(deadline) => Stopped::Aborted,
            () = hurry => Stopped::Aborted,
        };
        self.abort.cancel();
        self.tracker.wait().await;
        stopped
    }
}

/// Rings when a vital task is dropped, however that came.
struct Alarm {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.tasks.drain.is_cancelled() {
            tracing::error!(task = self.name, "a vital task ended; the server stops");
            self.tasks.failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_draining_is_aborted_at_the_deadline() {
        let tasks = Tasks::default();
        tasks.spawn(std::future::pending());
        let stopped = tasks
            .stop(Duration::from_secs(5), std::future::pending())
            .await;
        assert_eq!(stopped, Stopped::Aborted);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_heed_draining_end_by_themselves() {
        let tasks = Tasks::default();
        let draining = tasks.draining().clone();
        tasks.spawn(async move { draining.cancelled().await });
        let stopped = tasks
            .stop(Duration::from_secs(5), std::future::pending())
            .await;
        assert_eq!(stopped, Stopped::Drained);
    }

    #[tokio::test]
    async fn a_vital_task_that_ends_stops_the_server() {
        let tasks = Tasks::default();
        tasks.spawn_vital("consumer", async {});
        tasks.failed().cancelled().await;
    }
}
