//! `GET /v1/socket`: from a request to a session. Checks the origin and the handshake, answers
//! 101, and hands the raw stream to a session of its own.

use hyper::Version;
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use warp::http::header::{HOST, ORIGIN};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::handshake::{Handshake, HandshakeError};
use super::session::{self, Guest, Opened};
use super::upgrade::{TakenOver, UpgradeError, take_over};
use crate::egress::send_queue::SendQueue;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::protocol::code::ErrorCode;

/// Whether the stream could be had.
type Taken = std::result::Result<(), UpgradeError>;

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
    if !is_allowed_origin(&call.headers, &app.origins) {
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
    let guest = Guest { address, place };
    let (sessions, connection) = (app.clone(), call.connection);
    app.tasks.spawn(async move {
        let is_tls = connection
            .as_ref()
            .is_some_and(|connection| connection.is_tls);
        let served = match is_tls {
            // Boxed: a plain socket would carry the room for a TLS stream.
            true => Box::pin(serve_tls(&sessions, upgrade, guest)).await,
            false => serve_plain(&sessions, upgrade, guest).await,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a socket was lost before it opened");
        }
        drop(connection);
    });
    Ok(handshake.response())
}

async fn serve_plain(app: &App, upgrade: OnUpgrade, guest: Guest) -> Taken {
    let TakenOver { stream, leftover } = take_over::<TcpStream>(upgrade).await?;
    let (input, output) = stream.into_split();
    let opened = Opened {
        input,
        queue: SendQueue::new(output, app.hub.options.queue_bytes_max),
        leftover,
    };
    session::serve(app, opened, guest).await;
    Ok(())
}

async fn serve_tls(app: &App, upgrade: OnUpgrade, guest: Guest) -> Taken {
    let taken = take_over::<TlsStream<TcpStream>>(upgrade).await?;
    let (input, output) = tokio::io::split(taken.stream);
    let opened = Opened {
        input,
        queue: SendQueue::owned(output, app.hub.options.queue_bytes_max),
        leftover: taken.leftover,
    };
    session::serve(app, opened, guest).await;
    Ok(())
}

/// A problem with the headers that the RFC asks for.
fn refuse(error: HandshakeError, call: &Call) -> Response {
    let language = crate::ingress::call::Language::of(&call.headers);
    let problem = Error::new(ErrorCode::BadRequest, error.to_string());
    let mut response = reply::problem_as(error.status(), &problem, language, call.trace.id);
    response.headers_mut().extend(error.headers());
    response
}

/// A browser names its origin, and it must be an allowed one; without a list the page must come
/// from the host that it connects to. Whoever names none is no browser.
fn is_allowed_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
        return false;
    };
    if !allowed.is_empty() {
        return allowed
            .iter()
            .any(|known| known.eq_ignore_ascii_case(origin));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let site = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    host.is_some() && site.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(origin: &str, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "chat.example:8443".parse().unwrap());
        headers.insert(ORIGIN, origin.parse().unwrap());
        let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
        is_allowed_origin(&headers, &allowed)
    }

    #[test]
    fn without_a_list_only_the_same_origin_is_allowed() {
        assert!(is_allowed("https://chat.example:8443", &[]));
        for origin in [
            "https://chat.example",
            "https://chat.example:8443.evil.example",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!is_allowed(origin, &[]), "{origin}");
        }
    }

    #[test]
    fn a_list_is_exact() {
        let list = ["https://shop.example"];
        assert!(is_allowed("https://shop.example", &list));
        for origin in [
            "https://shop.example.evil",
            "http://shop.example",
            "https://chat.example:8443",
        ] {
            assert!(!is_allowed(origin, &list), "{origin}");
        }
    }

    #[test]
    fn no_origin_is_no_browser() {
        assert!(is_allowed_origin(&HeaderMap::new(), &[]));
    }
}
