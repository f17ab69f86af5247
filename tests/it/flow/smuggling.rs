//! Requests whose length or lines two parsers could read differently: each is refused, or ends
//! the connection with its answer, and what stands behind it is never taken for a request.

use std::net::SocketAddr;

use crate::support::server::TestServer;
use crate::support::socket::DEADLINE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a smuggler wants answered. Its status is one that nothing else here has.
const SMUGGLED: &str = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";

/// Sends bytes, then reads to the end of the connection.
async fn talk(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            read.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(DEADLINE, reading).await.expect("the server closes");
    String::from_utf8(read).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads.map(|head| &head[..3]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_two_parsers_could_read_differently_is_refused() {
    let server = TestServer::start().await;
    let post = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\n";
    for (what, head) in [
        (
            "two lengths",
            format!("{post}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        ),
        (
            "a list of lengths",
            format!("{post}content-length: 3, 4\r\n\r\nabcd"),
        ),
        (
            "a signed length",
            format!("{post}content-length: +3\r\n\r\nabc"),
        ),
        (
            "a hexadecimal length",
            format!("{post}content-length: 0x3\r\n\r\nabc"),
        ),
        (
            "a negative length",
            format!("{post}content-length: -1\r\n\r\n"),
        ),
        (
            "a length that overflows",
            format!("{post}content-length: 18446744073709551617\r\n\r\n"),
        ),
        (
            "another coding",
            format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked, then more",
            format!("{post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked in 1.0",
            "POST /v1/auth/login HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "a folded line",
            format!("{post}x: a\r\n b\r\ncontent-length: 0\r\n\r\n"),
        ),
        (
            "a folded first line",
            format!("{}\r\n", post.replace("host: x", " host: x")),
        ),
        (
            "a space before the colon",
            format!("{post}content-length : 0\r\n\r\n"),
        ),
        ("no colon", format!("{post}content-length\r\n\r\n")),
        ("a bare CR in a value", format!("{post}x: a\rb\r\n\r\n")),
        ("a NUL in a value", format!("{post}x: a\0b\r\n\r\n")),
        (
            "a space in the path",
            "GET /healthz HTTP/1.1 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        ),
    ] {
        let answers = talk(server.address, &format!("{head}{SMUGGLED}")).await;
        assert!(
            matches!(statuses(&answers)[..], [] | ["400"]),
            "{what}: {answers}"
        );
    }
}

/// RFC 9112 6.3: the coding wins, and the connection ends with the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_a_coding_ends_the_connection_with_its_answer() {
    let server = TestServer::start().await;
    let (length, coding) = ("content-length: 4\r\n", "transfer-encoding: chunked\r\n");
    for lines in [[length, coding].concat(), [coding, length].concat()] {
        let head = format!("POST /v1/auth/logout HTTP/1.1\r\nhost: x\r\n{lines}\r\n");
        let answers = talk(server.address, &format!("{head}0\r\n\r\n{SMUGGLED}")).await;
        assert_eq!(statuses(&answers), ["401"], "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_two_parsers_could_read_differently_end_the_connection() {
    let server = TestServer::start().await;
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    for (what, body) in [
        ("a bare LF after the size", "1\na\r\n0\r\n\r\n"),
        ("a bare LF after the data", "1\r\na\n0\r\n\r\n"),
        (
            "a size that overflows",
            "10000000000000001\r\na\r\n0\r\n\r\n",
        ),
        ("a signed size", "+1\r\na\r\n0\r\n\r\n"),
        ("a prefixed size", "0x1\r\na\r\n0\r\n\r\n"),
        ("an LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"),
    ] {
        let answers = talk(server.address, &format!("{head}{body}{SMUGGLED}")).await;
        assert!(
            matches!(statuses(&answers)[..], [] | ["400"]),
            "{what}: {answers}"
        );
    }
}

/// Lines that end in LF alone are taken, as RFC 9112 2.2 allows, but never differently: such a
/// head ends where its own lines say, and a length in it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_lf_hides_no_header_and_no_request() {
    let server = TestServer::start().await;
    let hidden = "POST /v1/auth/logout HTTP/1.1\r\nhost: x\r\nx: a\ncontent-length: 38\r\n\r\n";
    let answers = talk(server.address, &format!("{hidden}{SMUGGLED}")).await;
    assert!(
        matches!(statuses(&answers)[..], ["400"] | ["401"]),
        "{answers}"
    );
}
