//! `GET /v1/socket`: from a request to a session. Checks the origin and the handshake, answers
//! 101, and hands the raw stream to a session of its own.

use hyper::Version;
use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio_rustls::server::TlsStream;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::greeting::Guest;
use super::handshake::{Handshake, HandshakeError};
use super::session;
use super::upgrade::{TakenOver, take_over};
use super::wire::{Input, Wire};
use crate::egress::send_queue::SendQueue;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::listen::Connection;
use crate::ingress::route::Route;
use crate::ingress::{origin, reply};
use crate::protocol::code::ErrorCode;

/// What the socket speaks.
const SUBPROTOCOLS: &[&str] = &["qunliu.v1.json"];

/// The routes of the socket.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::open(app, Method::GET, "/v1/socket", open)
            .does(
                "open_socket",
                "Opens a WebSocket; its first frame proves who one is.",
            )
            .answers_nothing(StatusCode::SWITCHING_PROTOCOLS, "The socket is open.")
            .answers_as::<reply::Problem<'_>>(
                StatusCode::UPGRADE_REQUIRED,
                "Another version of the WebSocket protocol was asked for.",
                reply::PROBLEM,
            )
            .fails(&[ErrorCode::BadRequest, ErrorCode::Forbidden]),
    ]
}

async fn open(app: App, call: Call) -> Result<Response> {
    if !origin::is_allowed(&call.headers, &app.origins) {
        return Err(Error::new(
            ErrorCode::Forbidden,
            "Origin: this site may not connect here",
        ));
    }
    let handshake =
        match Handshake::check(&Method::GET, Version::HTTP_11, &call.headers, SUBPROTOCOLS) {
            Ok(handshake) => handshake,
            Err(error) => return Ok(refuse(error, &call)),
        };
    let upgrade = call
        .upgrade
        .ok_or_else(|| Error::new(ErrorCode::BadRequest, "the connection cannot be upgraded"))?;
    let address = call.connection.as_ref().map(|connection| connection.client);
    let place = app.limits.socket(address)?;
    let arrival = Arrival {
        app: app.clone(),
        guest: Guest { address, place },
        connection: call.connection,
    };
    let connection = arrival.connection.as_ref();
    // Tasks of two types: one for both would carry the room for the other's stream.
    match connection.is_some_and(|connection| connection.is_tls) {
        true => app.tasks.spawn(serve(upgrade, arrival, split_tls)),
        false => app.tasks.spawn(serve(upgrade, arrival, split_plain)),
    }
    Ok(handshake.response())
}

/// A client whose stream is about to come out of hyper.
struct Arrival {
    app: App,
    guest: Guest,
    /// Its place in the count of connections, until the socket ends.
    connection: Option<Connection>,
}

/// Serves a socket until it ends.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` would carry the room for its arguments twice"
)]
fn serve<S, R>(
    upgrade: OnUpgrade,
    mut arrival: Arrival,
    split: fn(S, usize) -> Wire<R>,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Input,
{
    async move {
        let Arrival {
            app,
            guest,
            connection: _place,
        } = &mut arrival;
        let TakenOver { stream, leftover } = match take_over(upgrade).await {
            Ok(taken_over) => taken_over,
            Err(error) => return tracing::debug!(%error, "a socket was lost before it opened"),
        };
        let mut wire = split(stream, app.hub.options.queue_bytes_max);
        session::serve(app, &mut wire, leftover, guest).await;
    }
}

fn split_plain(stream: TcpStream, bytes_max: usize) -> Wire<OwnedReadHalf> {
    let (input, output) = stream.into_split();
    Wire::new(input, SendQueue::new(output, bytes_max))
}

type Tls = TlsStream<TcpStream>;

fn split_tls(stream: Tls, bytes_max: usize) -> Wire<ReadHalf<Tls>> {
    let (input, output) = tokio::io::split(stream);
    Wire::new(input, SendQueue::owned(output, bytes_max))
}

/// A problem with the headers that the RFC asks for.
fn refuse(error: HandshakeError, call: &Call) -> Response {
    let language = crate::ingress::call::Language::of(&call.headers);
    let problem = Error::new(ErrorCode::BadRequest, error.to_string());
    let mut response = reply::problem_as(error.status(), &problem, language, call.trace.id);
    response.headers_mut().extend(error.headers());
    response
}
