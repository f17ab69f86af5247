use std::convert::Infallible;

use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
};

use super::{OnUpgrade, UpgradeError, take_over};
use crate::ingress::socket::handshake::Handshake;

const REQUEST: &[u8] = b"GET /v1/socket HTTP/1.1\r\nHost: localhost\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Serves one upgrade over `stream` and returns it once hyper has let go.
async fn serve(stream: DuplexStream) -> OnUpgrade {
    let (upgrades, mut upgraded) = mpsc::channel(1);
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        let upgrades = upgrades.clone();
        async move {
            let headers = request.headers();
            let checked = Handshake::check(request.method(), request.version(), headers, &[]);
            upgrades
                .send(hyper::upgrade::on(&mut request))
                .await
                .unwrap();
            Ok::<Response<String>, Infallible>(checked.unwrap().response())
        }
    });
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
        .unwrap();
    upgraded.recv().await.unwrap()
}

/// What the client received so far, up to the end of the response head.
async fn read_head(client: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn frame_sent_with_the_request_is_left_over_once() {
    let (mut client, server) = duplex(4096);
    client
        .write_all(&[REQUEST, b"\x81\x80"].concat())
        .await
        .unwrap();
    let mut taken = take_over::<DuplexStream>(serve(server).await)
        .await
        .unwrap();
    assert_eq!(taken.leftover, b"\x81\x80");

    client.write_all(b"\0\0\0\0").await.unwrap();
    let mut later = [0; 4];
    taken.stream.read_exact(&mut later).await.unwrap();
    assert_eq!(later, [0; 4]);
}

#[tokio::test]
async fn empty_leftover_holds_no_memory() {
    let (mut client, server) = duplex(4096);
    client.write_all(REQUEST).await.unwrap();
    let taken = take_over::<DuplexStream>(serve(server).await)
        .await
        .unwrap();
    assert_eq!(taken.leftover.capacity(), 0);
}

#[tokio::test]
async fn response_head_is_through_before_the_stream_is_taken() {
    let (mut client, server) = duplex(4096);
    client.write_all(REQUEST).await.unwrap();
    let mut taken = take_over::<DuplexStream>(serve(server).await)
        .await
        .unwrap();
    taken.stream.write_all(b"frame").await.unwrap();

    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    let mut frame = [0; 5];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, *b"frame");
}

#[tokio::test]
async fn other_stream_type_is_refused() {
    let (mut client, server) = duplex(4096);
    client.write_all(REQUEST).await.unwrap();
    let taken = take_over::<TcpStream>(serve(server).await).await;
    assert!(matches!(taken, Err(UpgradeError::OtherStream)));
}
