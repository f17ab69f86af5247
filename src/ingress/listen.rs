//! Listeners: takes connections, bounds what an unknown peer may cost, serves HTTP/1.1 on them
//! with upgrades, in plain text or over TLS, and lets them finish when the server drains.
//!
//! Bounds before anything is parsed: connections at once, 16 KiB and 64 headers of head, a
//! deadline for the handshake of TLS, for each head, and between two requests. HTTP/2 is refused.
//! An upgraded socket leaves here; whoever took it keeps its [`Connection`], and with it its
//! place in the count.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::forwarded::{Header, Proxies};
use super::tls::Current;
use crate::lifecycle::Tasks;

/// The longest head of a request, in bytes; hyper answers 431 above it.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most headers of a request.
const HEADERS_MAX: usize = 64;

/// How long the handshake of TLS may take, unless a head may take even less.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long the loop rests when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Browsers that were here over TLS come back over TLS only, for a year (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

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
    /// Networks of the proxies that are believed when they say for whom they ask.
    pub proxies: Vec<String>,
    /// The header in which they say it.
    pub proxy_header: Header,
    /// The file with the chain of certificates for clients; empty for plain text.
    pub tls_cert: String,
    /// The file with its key.
    pub tls_key: String,
    /// Whether to serve in plain text beyond this machine with no proxy before it.
    pub insecure: bool,
}

/// The connection that a request came by: an extension of every request.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Whose request it is: the other end, or whom a declared proxy there names.
    pub client: IpAddr,
    /// Whether it is a TLS stream.
    pub is_tls: bool,
    /// The place in the count of connections. It is free when the last clone is dropped.
    _place: Arc<OwnedSemaphorePermit>,
}

/// Where connections come in.
pub struct Entrance {
    /// The bound address.
    pub listener: TcpListener,
    /// What TLS goes by; `None` for plain text.
    pub tls: Option<Current>,
    /// Who is believed when it says for whom it asks.
    pub proxies: Arc<Proxies>,
}

/// Serves `filter` on connections that come in until draining begins; then no connection is
/// accepted any more, idle ones close, and the others after the answer to their current request.
pub fn serve(
    entrance: Entrance,
    filter: BoxedFilter<(Response,)>,
    options: &Options,
    tasks: &Tasks,
) {
    let serving = Serving {
        filter,
        http: http(options),
        tls: entrance.tls,
        handshake: HANDSHAKE_MAX.min(Duration::from_secs(options.head_s_max)),
        places: Arc::new(Semaphore::new(options.connections_max)),
        proxies: entrance.proxies,
        tasks: tasks.clone(),
    };
    tasks.spawn_vital("listener", serving.run(entrance.listener));
}

fn http(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(options.head_s_max))
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// Why a connection ended before its time.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What every connection of a listener shares.
#[derive(Clone)]
struct Serving {
    filter: BoxedFilter<(Response,)>,
    http: Builder,
    tls: Option<Current>,
    handshake: Duration,
    places: Arc<Semaphore>,
    proxies: Arc<Proxies>,
    tasks: Tasks,
}

impl Serving {
    async fn run(self, listener: TcpListener) {
        while let Some((stream, connection)) = self.accept(&listener).await {
            let serving = self.clone();
            self.tasks.spawn(async move {
                if let Err(error) = serving.connection(stream, connection).await {
                    tracing::debug!(error, "a connection ended early");
                }
            });
        }
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
                    let connection = Connection {
                        client: peer.ip(),
                        is_tls: self.tls.is_some(),
                        _place: Arc::new(place),
                    };
                    return Some((stream, connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, connection: Connection) -> Result<(), Broken> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return self.converse(stream, connection).await;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let handshake = timeout(self.handshake, acceptor.accept(stream));
        let draining = self.tasks.draining().clone();
        // Boxed: a handshake is long, and a connection is served in the same task afterwards.
        match draining.run_until_cancelled(Box::pin(handshake)).await {
            Some(stream) => self.converse(stream??, connection).await,
            None => Ok(()),
        }
    }

    async fn converse<S>(self, stream: S, connection: Connection) -> Result<(), Broken>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let draining = self.tasks.draining().clone();
        let is_tls = connection.is_tls;
        let answer = TowerToHyperService::new(warp::service(self.filter));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let mut connection = connection.clone();
            connection.client = self.proxies.client(connection.client, request.headers());
            request.extensions_mut().insert(connection);
            let answer = answer.call(request);
            async move {
                let mut response = answer.await;
                if let (true, Ok(response)) = (is_tls, &mut response) {
                    response
                        .headers_mut()
                        .insert(STRICT_TRANSPORT_SECURITY, HSTS);
                }
                response
            }
        });
        let http = self.http.serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http.with_upgrades());
        tokio::select! {
            biased;
            done = http.as_mut() => return Ok(done?),
            () = draining.cancelled() => http.as_mut().graceful_shutdown(),
        }
        Ok(http.await?)
    }
}
