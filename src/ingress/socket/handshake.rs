//! The opening handshake (RFC 6455 4.2): is this request an upgrade that we accept, and with what.
//!
//! Pure: a request head flows in, the head of the 101 or a typed refusal flows out. Origin, limits
//! and sign-in are the route's concern; no extension is ever accepted.

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{
    HeaderMap, Method, Response, StatusCode, Version,
    header::{
        CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use sha1::{Digest, Sha1};
use thiserror::Error;

/// The only version of the protocol that came into use.
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Appended to the client's key before hashing (RFC 6455 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key is base64 of exactly this many bytes.
const KEY_BYTES: usize = 16;

/// An upgrade that we accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Value of `Sec-WebSocket-Accept`: 28 characters.
    pub accept: String,
    /// The subprotocol that both sides speak; `None` at an endpoint that speaks none.
    pub subprotocol: Option<&'static str>,
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// Only GET can be upgraded.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// HTTP/1.0 has no upgrade; HTTP/2 has another (RFC 8441).
    #[error("a WebSocket is opened over HTTP/1.1")]
    HttpVersion,
    /// `Connection: upgrade` or `Upgrade: websocket` is missing.
    #[error("the request does not ask for an upgrade to websocket")]
    NotAnUpgrade,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("only WebSocket version 13 is spoken here")]
    WebSocketVersion,
    /// `Sec-WebSocket-Key` is missing, doubled, or not base64 of 16 bytes.
    #[error("Sec-WebSocket-Key is not base64 of 16 bytes")]
    Key,
    /// The client offers no subprotocol that is spoken here.
    #[error("no subprotocol in common")]
    Subprotocol,
}

impl HandshakeError {
    /// The status that the RFC asks for (4.2.1, 4.2.2).
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::HttpVersion | Self::NotAnUpgrade | Self::Key | Self::Subprotocol => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// Headers that must go with the status: with 426 what to upgrade to (RFC 9110 15.5.22), and
    /// which version is spoken (RFC 6455 4.4).
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let headers = match self {
            Self::WebSocketVersion => Some([
                (UPGRADE, WEBSOCKET),
                (CONNECTION, HeaderValue::from_static("upgrade")),
                (SEC_WEBSOCKET_VERSION, VERSION),
            ]),
            _ => None,
        };
        headers.into_iter().flatten()
    }
}

impl Handshake {
    /// Checks the head of a request. `subprotocols` is what the endpoint speaks, best first; one of
    /// them must be offered, unless the list is empty.
    ///
    /// # Errors
    /// The first rule that the request breaks, in the order of the variants.
    pub fn check(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        subprotocols: &[&'static str],
    ) -> Result<Self, HandshakeError> {
        require(*method == Method::GET, HandshakeError::Method)?;
        require(version == Version::HTTP_11, HandshakeError::HttpVersion)?;
        require(asks_for_upgrade(headers), HandshakeError::NotAnUpgrade)?;
        let spoken = headers.get(SEC_WEBSOCKET_VERSION) == Some(&VERSION);
        require(spoken, HandshakeError::WebSocketVersion)?;
        let key = key(headers).ok_or(HandshakeError::Key)?;
        let subprotocol = choose(headers, subprotocols)?;
        Ok(Self {
            accept: accept(key),
            subprotocol,
        })
    }

    /// The answer that switches protocols. Its body is empty, and no header may follow it.
    pub fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is visible ASCII");
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(subprotocol) = self.subprotocol {
            headers.insert(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(subprotocol),
            );
        }
        response
    }
}

fn require(holds: bool, otherwise: HandshakeError) -> Result<(), HandshakeError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let lists = |name, token: &str| tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token));
    lists(CONNECTION, "upgrade") && lists(UPGRADE, "websocket")
}

/// The key as it stands, which is what is hashed: not the bytes it decodes to.
fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(SEC_WEBSOCKET_KEY).into_iter();
    let (Some(key), None) = (values.next(), values.next()) else {
        return None;
    };
    let decoded = BASE64_STANDARD.decode(key).ok()?;
    (decoded.len() == KEY_BYTES).then_some(key.as_bytes())
}

fn accept(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(ACCEPT_GUID)
        .finalize();
    BASE64_STANDARD.encode(digest)
}

fn choose(
    headers: &HeaderMap,
    subprotocols: &[&'static str],
) -> Result<Option<&'static str>, HandshakeError> {
    if subprotocols.is_empty() {
        return Ok(None);
    }
    let offered = |spoken: &&str| tokens(headers, SEC_WEBSOCKET_PROTOCOL).any(|t| t == *spoken);
    let chosen = subprotocols.iter().copied().find(offered);
    chosen.map(Some).ok_or(HandshakeError::Subprotocol)
}

/// The items of a comma-separated header that may occur several times (RFC 9110 5.6.1).
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests;
