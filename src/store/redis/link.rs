//! One pipelined connection that is made again when it breaks, and keeps calls in order.
//!
//! Calls reach Redis in the order in which their futures were first polled, also those that
//! waited for a connection or because too many were on their way. A call is never sent twice.
//! While Redis cannot be reached, calls fail at once between attempts instead of queueing up.

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::unconstrained;

use super::dial::{Backoff, Dial};
use super::fault::breaks_connection;

/// Calls on their way at a time. The driver's own queue is longer, so that it is never full: its
/// waiters are woken in order but do not run in order.
const IN_FLIGHT: usize = 4_096;
pub(super) const DRIVER_QUEUE: usize = 2 * IN_FLIGHT;

/// A connection that mends itself.
#[derive(Debug)]
pub(super) struct Link {
    dial: Dial,
    in_flight: Semaphore,
    state: Mutex<State>,
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
    pub(super) fn new(dial: Dial) -> Self {
        Self {
            dial,
            in_flight: Semaphore::new(IN_FLIGHT),
            state: Mutex::default(),
        }
    }

    /// Sends a command and waits for its answer.
    pub(super) async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        self.send(|mut connection| {
            Box::pin(async move {
                connection
                    .send_packed_command(command)
                    .await?
                    .extract_error()
            })
        })
        .await
    }

    /// Sends commands in one write; answers in their order, errors of single ones included.
    pub(super) async fn commands(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.send(|mut connection| {
            Box::pin(async move {
                connection
                    .send_packed_commands(commands, 0, commands.len())
                    .await
            })
        })
        .await
    }

    async fn send<'a, T>(
        &self,
        request: impl FnOnce(MultiplexedConnection) -> BoxFuture<'a, RedisResult<T>>,
    ) -> RedisResult<T> {
        // The lock is fair. The first poll, which queues the request at the connection, happens
        // under it, and without the scheduler's budget, which could put it off.
        let mut state = unconstrained(self.state.lock()).await;
        let slot = unconstrained(self.in_flight.acquire()).await;
        let mut request = request(self.connection(&mut state).await?);
        let generation = state.generation;
        let first = futures::poll!(unconstrained(&mut request));
        drop(state);
        let answer = match first {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => request.await,
        };
        // Whoever holds the lock may be waiting for a slot.
        drop(slot);
        if let Err(error) = &answer
            && breaks_connection(error)
        {
            self.give_up(generation).await;
        }
        answer
    }

    async fn connection(&self, state: &mut State) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = &state.connection {
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
