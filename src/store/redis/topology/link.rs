//! One pipelined connection that is made again when it breaks, and keeps calls in order.
//!
//! Calls reach Redis in the order in which their futures were first polled, also those that
//! waited for a connection or because too many were on their way. A call is never sent twice.
//! While Redis cannot be reached, calls fail at once between attempts instead of queueing up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::dial::Dial;
use super::gate::Gate;
use crate::store::redis::backoff::Backoff;
use crate::store::redis::fault::{breaks_connection, is_demoted};

/// Calls on their way at a time. The driver's own queue is longer, so that it is never full: its
/// waiters are woken in order but do not run in order.
const IN_FLIGHT: usize = 4_096;
pub(crate) const DRIVER_QUEUE: usize = 2 * IN_FLIGHT;

/// A caller that gave up after so long without an answer leaves a connection that may be half
/// open: nobody else may be waiting for it to time out.
const SUSPICIOUS: Duration = Duration::from_millis(500);

/// A connection that mends itself.
#[derive(Debug)]
pub(crate) struct Link {
    dial: Dial,
    /// By which calls go together with those over other links.
    gate: Option<Arc<Gate>>,
    in_flight: Semaphore,
    state: Mutex<State>,
    /// The newest connection that left a caller without an answer.
    suspect: AtomicU64,
}

/// A call on its way over a connection; dropped without an answer it may make that suspect.
struct Call<'a> {
    link: &'a Link,
    generation: u64,
    began: Instant,
    is_answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.began.elapsed() >= SUSPICIOUS {
            self.link
                .suspect
                .fetch_max(self.generation, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that a late error of an old one does not end the new one.
    generation: u64,
    backoff: Backoff,
    last_error: Option<RedisError>,
}

impl Link {
    /// A link that connects at its first call.
    pub(crate) fn new(dial: Dial) -> Self {
        Self {
            dial,
            gate: None,
            in_flight: Semaphore::new(IN_FLIGHT),
            state: Mutex::default(),
            suspect: AtomicU64::new(0),
        }
    }

    /// The same, whose calls go through this gate.
    pub(super) fn gated(dial: Dial, gate: Arc<Gate>) -> Self {
        Self {
            gate: Some(gate),
            ..Self::new(dial)
        }
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        let answer = self
            .send(
                |mut connection| {
                    Box::pin(async move { connection.send_packed_command(command).await })
                },
                std::slice::from_ref,
            )
            .await?;
        answer.extract_error()
    }

    /// Sends commands in one write; answers in their order, errors of single ones included.
    pub(crate) async fn commands(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.send(
            |mut connection| {
                Box::pin(async move {
                    connection
                        .send_packed_commands(commands, 0, commands.len())
                        .await
                })
            },
            Vec::as_slice,
        )
        .await
    }

    async fn send<'a, T>(
        &self,
        request: impl FnOnce(MultiplexedConnection) -> BoxFuture<'a, RedisResult<T>>,
        values: impl FnOnce(&T) -> &[Value],
    ) -> RedisResult<T> {
        // The lock is fair. The first poll, which queues the request at the connection, happens
        // under it, and without the scheduler's budget, which could put it off.
        let gate = self.gate.as_ref();
        let turn = gate.and_then(|gate| gate.turn(Instant::now()));
        let mut state = unconstrained(self.state.lock()).await;
        if let Some(turn) = turn {
            sleep_until(turn).await;
        }
        let slot = unconstrained(self.in_flight.acquire()).await;
        let mut request = request(self.connection(&mut state).await?);
        let generation = state.generation;
        let first = futures::poll!(unconstrained(&mut request));
        drop(state);
        let mut call = Call {
            link: self,
            generation,
            began: Instant::now(),
            is_answered: false,
        };
        let answer = match first {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => request.await,
        };
        call.is_answered = true;
        // Whoever holds the lock may be waiting for a slot.
        drop(slot);
        let is_over = match &answer {
            Ok(answer) => values(answer).iter().any(is_demoted),
            Err(error) => breaks_connection(error),
        };
        if is_over {
            self.give_up(generation).await;
        }
        answer
    }

    async fn connection(&self, state: &mut State) -> RedisResult<MultiplexedConnection> {
        let is_suspect = state.generation <= self.suspect.load(Ordering::Relaxed);
        if let Some(connection) = state.connection.as_ref().filter(|_| !is_suspect) {
            return Ok(connection.clone());
        }
        if let Some(error) = state
            .last_error
            .clone()
            .filter(|_| state.backoff.is_pausing())
        {
            return Err(error);
        }
        match self.dial.connect().await {
            Ok(connection) => {
                state.backoff.succeed();
                state.generation += 1;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.backoff.fail();
                state.last_error = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn give_up(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }
}
