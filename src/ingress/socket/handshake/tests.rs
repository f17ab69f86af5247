use hyper::{
    HeaderMap, Method, StatusCode, Version,
    header::{
        CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};

use super::{Handshake, HandshakeError};

const SPOKEN: &[&str] = &["qunliu.v1.json"];

/// The request of RFC 6455 1.3, with our subprotocol.
fn request() -> HeaderMap {
    let headers = [
        (CONNECTION, "keep-alive, Upgrade"),
        (UPGRADE, "WebSocket"),
        (SEC_WEBSOCKET_VERSION, "13"),
        (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        (SEC_WEBSOCKET_PROTOCOL, "chat, qunliu.v1.json"),
        (SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"),
    ];
    headers
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .into_iter()
        .collect()
}

fn check(headers: &HeaderMap) -> Result<Handshake, HandshakeError> {
    Handshake::check(&Method::GET, Version::HTTP_11, headers, SPOKEN)
}

fn check_with(name: HeaderName, value: &'static str) -> Result<Handshake, HandshakeError> {
    let mut headers = request();
    headers.insert(name, HeaderValue::from_static(value));
    check(&headers)
}

fn check_without(name: HeaderName) -> Result<Handshake, HandshakeError> {
    let mut headers = request();
    headers.remove(name);
    check(&headers)
}

#[test]
fn key_is_answered_as_in_the_example_of_rfc_6455() {
    let handshake = check(&request()).unwrap();
    assert_eq!(handshake.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(handshake.subprotocol, Some("qunliu.v1.json"));
}

#[test]
fn response_switches_protocols_without_extensions() {
    let response = check(&request()).unwrap().response::<()>();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers();
    assert_eq!(headers[UPGRADE], "websocket");
    assert_eq!(headers[CONNECTION], "upgrade");
    assert_eq!(
        headers[SEC_WEBSOCKET_ACCEPT],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "qunliu.v1.json");
    assert!(!headers.contains_key(SEC_WEBSOCKET_EXTENSIONS));
}

#[test]
fn only_get_is_upgraded() {
    let checked = Handshake::check(&Method::POST, Version::HTTP_11, &request(), SPOKEN);
    assert_eq!(checked, Err(HandshakeError::Method));
}

#[test]
fn only_http_1_1_is_upgraded() {
    for version in [Version::HTTP_10, Version::HTTP_2] {
        let checked = Handshake::check(&Method::GET, version, &request(), SPOKEN);
        assert_eq!(checked, Err(HandshakeError::HttpVersion));
    }
}

#[test]
fn both_upgrade_headers_are_needed() {
    let refused = Err(HandshakeError::NotAnUpgrade);
    assert_eq!(check_without(CONNECTION), refused);
    assert_eq!(check_without(UPGRADE), refused);
    assert_eq!(check_with(CONNECTION, "keep-alive"), refused);
    assert_eq!(check_with(UPGRADE, "h2c"), refused);
}

#[test]
fn other_version_is_told_which_one_is_spoken() {
    let error = check_with(SEC_WEBSOCKET_VERSION, "8").unwrap_err();
    assert_eq!(error, HandshakeError::WebSocketVersion);
    assert_eq!(error.status(), StatusCode::UPGRADE_REQUIRED);
    let headers: HeaderMap = error.headers().collect();
    assert_eq!(headers[SEC_WEBSOCKET_VERSION], "13");
    assert_eq!(headers[UPGRADE], "websocket");
    assert_eq!(check_without(SEC_WEBSOCKET_VERSION), Err(error));
}

#[test]
fn other_refusals_are_400_without_headers() {
    let error = check_without(SEC_WEBSOCKET_PROTOCOL).unwrap_err();
    assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    assert_eq!(error.headers().count(), 0);
}

#[test]
fn key_must_be_base64_of_16_bytes() {
    let refused = Err(HandshakeError::Key);
    assert_eq!(check_without(SEC_WEBSOCKET_KEY), refused);
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZWU=",
        "dGhlIHNhbXBsZSBub25jZQ",
    ] {
        assert_eq!(check_with(SEC_WEBSOCKET_KEY, key), refused, "{key}");
    }
}

#[test]
fn doubled_key_is_refused() {
    let mut headers = request();
    headers.append(SEC_WEBSOCKET_KEY, headers[SEC_WEBSOCKET_KEY].clone());
    assert_eq!(check(&headers), Err(HandshakeError::Key));
}

#[test]
fn subprotocol_in_common_is_needed() {
    let refused = Err(HandshakeError::Subprotocol);
    assert_eq!(check_without(SEC_WEBSOCKET_PROTOCOL), refused);
    assert_eq!(
        check_with(SEC_WEBSOCKET_PROTOCOL, "qunliu.v2.json"),
        refused
    );
    assert_eq!(
        check_with(SEC_WEBSOCKET_PROTOCOL, "QUNLIU.V1.JSON"),
        refused
    );
}

#[test]
fn subprotocol_may_stand_in_a_second_header() {
    let mut headers = request();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat"));
    headers.append(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static("qunliu.v1.json"),
    );
    assert!(check(&headers).is_ok());
}

#[test]
fn endpoint_without_subprotocols_chooses_none() {
    let checked = Handshake::check(&Method::GET, Version::HTTP_11, &request(), &[]).unwrap();
    assert_eq!(checked.subprotocol, None);
    assert!(
        !checked
            .response::<()>()
            .headers()
            .contains_key(SEC_WEBSOCKET_PROTOCOL)
    );
}
