//! What a connection may cost before it says anything, and how it ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use qunliu::lifecycle::Stopped;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::redis::free_port;
use crate::support::server::TestServer;

const DEADLINE: Duration = Duration::from_secs(20);

/// Sends bytes and reads until the server closes the connection, however it does.
async fn until_closed(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(DEADLINE, reading)
        .await
        .expect("the server closes the connection");
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_a_slow_and_an_idle_connection_are_closed() {
    let server = TestServer::start_with(&[("QUNLIU_HTTP_HEAD_S_MAX", "1")]).await;
    let started = Instant::now();
    let (silent, slow, idle) = tokio::join!(
        until_closed(server.address, b""),
        until_closed(server.address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n"),
        until_closed(server.address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
    );
    assert_eq!(silent, "");
    assert!(
        slow.is_empty() || slow.starts_with("HTTP/1.1 408"),
        "{slow}"
    );
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_given_up() {
    let server = TestServer::start_with(&[("QUNLIU_HTTP_BODY_S_MAX", "1")]).await;
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 100\r\n\r\n{\"name\"";
    let answer = until_closed(server.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("took too long"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_over_their_bounds_are_refused() {
    let server = TestServer::start().await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    let lines: String = (0..70).map(|n| format!("h{n}: x\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{lines}\r\n");
    for head in [long, many] {
        let answer = until_closed(server.address, head.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_without_tls_and_smuggled_lengths_are_refused() {
    let server = TestServer::start().await;
    let preface = until_closed(server.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(preface, "");
    let two_lengths = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\
                       content-length: 4\r\n\r\nabcd";
    let folded = "GET /healthz HTTP/1.1\r\nhost: x\r\n folded: x\r\n\r\n";
    for smuggled in [two_lengths, folded] {
        let answer = until_closed(server.address, smuggled.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_byte_that_comes_alone_is_waited_for() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in [
        "P",
        "OST /v1/auth/refresh HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    ] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_cap_wait_for_a_place() {
    let server = TestServer::start_with(&[("QUNLIU_HTTP_CONNECTIONS_MAX", "1")]).await;
    let first = TcpStream::connect(server.address).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    second.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(early.is_err(), "answered although the only place was taken");
    drop(first);
    assert!(read_to_end(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_idle_connections_and_takes_no_new_ones() {
    // Of a port that the kernel chose another server might be given.
    let listen = format!("127.0.0.1:{}", free_port());
    let mut server = TestServer::start_with(&[("QUNLIU_SERVER_LISTEN", &listen)]).await;
    let address = server.address;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    assert_eq!(idle.read(&mut byte).await.unwrap(), 1);
    assert_eq!(server.stop(DEADLINE).await, Stopped::Drained);
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(read_to_end(&mut idle).await.starts_with("TTP/1.1 200"));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_never_ends_is_aborted_at_the_deadline() {
    let mut server = TestServer::start().await;
    let mut stuck = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
                content-length: 100\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.unwrap();
    let mut byte = [0];
    assert_eq!(
        stuck.read(&mut byte).await.unwrap(),
        1,
        "100-continue: the body is being read"
    );
    assert_eq!(
        server.stop(Duration::from_millis(50)).await,
        Stopped::Aborted
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unspoken_version_of_websocket_is_told_the_spoken_one() {
    let server = TestServer::start_with(&[("QUNLIU_HTTP_HEAD_S_MAX", "1")]).await;
    let head = "GET /v1/socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                sec-websocket-protocol: qunliu.v1.json\r\n\r\n";
    let answer = until_closed(server.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
    assert!(answer.contains(r#""status":426"#), "{answer}");
}
