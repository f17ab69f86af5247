//! Asks sentinels which server is the master. They are asked at every new connection: only a
//! connection that ended tells of a failover, and then all of them end.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, RedisResult, cmd,
};

use super::dial::at;
use super::slots::Place;

/// The sentinels of one master.
#[derive(Debug)]
pub(super) struct Sentinels {
    clients: Vec<Client>,
    name: String,
    master: ConnectionInfo,
    config: AsyncConnectionConfig,
    /// The one that answered last, and is asked first.
    first: AtomicUsize,
}

impl Sentinels {
    /// Those at `sentinels`, which know the master by `name`; it is connected to like `master`.
    pub(super) fn new(
        sentinels: Vec<ConnectionInfo>,
        name: String,
        master: ConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Self> {
        let clients = sentinels.into_iter().map(Client::open);
        Ok(Self {
            clients: clients.collect::<RedisResult<_>>()?,
            name,
            master,
            config,
            first: AtomicUsize::new(0),
        })
    }

    /// The server that the first sentinel to answer calls the master. It may be one no more, or
    /// not yet.
    pub(super) async fn master(&self) -> RedisResult<Client> {
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = nobody();
        for index in (0..self.clients.len()).map(|n| (first + n) % self.clients.len()) {
            let Some(sentinel) = self.clients.get(index) else {
                continue;
            };
            match self.ask(sentinel).await {
                Ok(Some(place)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Client::open(at(self.master.clone(), place));
                }
                Ok(None) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask(&self, sentinel: &Client) -> RedisResult<Option<Place>> {
        let mut connection = sentinel
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        ask.query_async(&mut connection).await
    }
}

fn nobody() -> RedisError {
    let kind = ErrorKind::MasterNameNotFoundBySentinel;
    (kind, "no sentinel knows a master of this name").into()
}
