//! Listeners: takes connections, bounds what an unknown peer may cost, serves HTTP/1.1 on them
//! with upgrades, and lets them finish when the server drains.
//!
//! Bounds before anything is parsed: connections at once, 16 KiB and 64 headers of head, a
//! deadline for the first byte, for the head, and between two requests. HTTP/2 without TLS is
//! refused. An upgraded socket leaves here; whoever took it keeps its [`Connection`], and with it
//! its place in the count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::lifecycle::Tasks;

/// The longest head of a request, in bytes; hyper answers 431 above it.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// How long the loop rests when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a connection whose first bytes could still become HTTP/2 is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);

/// Options of the listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Connections at once on each listener; more wait in the kernel's queue.
    pub connections_max: usize,
    /// For the head of a request, and for idling between two, in seconds.
    pub head_s_max: u64,
    /// For the body of a request, in seconds.
    pub body_s_max: u64,
    /// Sites whose pages may open sockets; empty for the server's own alone.
    pub origins: Vec<String>,
}

/// The connection that a request came by: an extension of every request.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end, as the kernel sees it.
    pub peer: SocketAddr,
    /// The place in the count of connections. It is free when the last clone is dropped.
    _place: Arc<OwnedSemaphorePermit>,
}

/// Serves `filter` on `listener` until draining begins; then no connection is accepted any more,
/// idle ones close, and the others after the answer to their current request.
pub fn serve(
    listener: TcpListener,
    filter: BoxedFilter<(Response,)>,
    options: &Options,
    tasks: &Tasks,
) {
    let serving = Serving {
        filter,
        http: http(options),
        head: Duration::from_secs(options.head_s_max),
        places: Arc::new(Semaphore::new(options.connections_max)),
        tasks: tasks.clone(),
    };
    tasks.spawn_vital("listener", serving.run(listener));
}

fn http(options: &Options) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(options.head_s_max))
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// What every connection of a listener shares.
#[derive(Clone)]
struct Serving {
    filter: BoxedFilter<(Response,)>,
    http: Builder<TokioExecutor>,
    head: Duration,
    places: Arc<Semaphore>,
    tasks: Tasks,
}

impl Serving {
    async fn run(self, listener: TcpListener) {
        let graceful = GracefulShutdown::new();
        while let Some((stream, connection)) = self.accept(&listener).await {
            let one = self
                .clone()
                .connection(stream, connection, graceful.watcher());
            self.tasks.spawn(one);
        }
        drop(listener);
        graceful.shutdown().await;
    }

    /// The next connection; `None` when draining begins.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, Connection)> {
        let draining = self.tasks.draining();
        let place = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok()?,
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = draining.cancelled() => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let _place = Arc::new(place);
                    return Some((stream, Connection { peer, _place }));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, connection: Connection, watcher: Watcher) {
        let draining = self.tasks.draining().clone();
        let speaks_http1 = tokio::select! {
            biased;
            () = draining.cancelled() => return,
            first = timeout(self.head, speaks_http1(&stream)) => matches!(first, Ok(Ok(true))),
        };
        if !speaks_http1 {
            return;
        }
        if let Err(error) = self.converse(stream, connection, watcher).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn converse(
        self,
        stream: TcpStream,
        connection: Connection,
        watcher: Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let answer = TowerToHyperService::new(warp::service(self.filter));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            answer.call(request)
        });
        let http = self
            .http
            .serve_connection_with_upgrades(TokioIo::new(stream), service);
        watcher.watch(http.into_owned()).await
    }
}

/// Waits for the first bytes without taking them, and tells HTTP/1 from the preface of HTTP/2.
/// hyper's own deadline begins only after them, and its builder would serve HTTP/2 to whoever
/// sends the preface.
async fn speaks_http1(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8; 3] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        let seen = first.get(..seen).unwrap_or_default();
        if seen.is_empty() || seen == PREFACE {
            return Ok(false);
        }
        if !PREFACE.starts_with(seen) {
            return Ok(true);
        }
        sleep(PREFACE_PAUSE).await;
    }
}
