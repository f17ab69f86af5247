//! What clients can make a server hold before they have said who they are: fragments, and heads that
//! never end. The bounds of single requests are in `connections`, `sockets` and `limits`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::http;
use crate::support::node::House;
use crate::support::server::TestServer;
use crate::support::socket::DEADLINE;

const UPGRADE: &str = "GET /v1/socket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: qunliu.v1.json\r\n\r\n";

/// The most bytes of a message, and the most frames of one (docs/security.md).
const MESSAGE_BYTES_MAX: usize = 160 * 1024;
const FRAGMENTS_MAX: usize = 1024;

/// A frame of a client, masked with zeros; `opcode` 0 goes on with a message, 1 begins a text.
fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut frame = vec![u8::from(is_last) << 7 | opcode, 0x80 | 126];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Opens a socket, sends bytes, and reads the code of its close.
async fn close_code(address: SocketAddr, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(UPGRADE.as_bytes()).await.unwrap();
    let talking = async {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
        // The server may close before it has taken all.
        drop(stream.write_all(bytes).await);
        loop {
            let (opcode, length) = (
                stream.read_u8().await.unwrap(),
                stream.read_u8().await.unwrap(),
            );
            let length = match length {
                126 => u64::from(stream.read_u16().await.unwrap()),
                127 => stream.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if opcode == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    };
    timeout(DEADLINE, talking).await.expect("it is closed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_count_together_and_are_bounded_in_number() {
    let server = TestServer::start().await;
    let piece = vec![b' '; 16 * 1024];
    let mut large = frame(1, false, &piece);
    for _ in 1..MESSAGE_BYTES_MAX / piece.len() {
        large.extend(frame(0, false, &piece));
    }
    large.extend(frame(0, true, b" "));
    assert_eq!(close_code(server.address, &large).await, 1009);
    let mut many = frame(1, false, b"{");
    for _ in 0..FRAGMENTS_MAX {
        many.extend(frame(0, false, b""));
    }
    let code = close_code(server.address, &many).await;
    assert!([1008, 1009].contains(&code), "{code}");
}

/// What a process holds in memory, in KiB.
fn held(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Asks over a connection of its own, which must be accepted and served beside all others.
async fn is_answered(url: &str) {
    let answer = http::client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_heads_that_never_end_hold_little_memory_and_nobody_up() {
    const HEADS: usize = 200;
    let house = House::new(Vec::new());
    let node = house.start("slow").await;
    let address = node.url.trim_start_matches("http://").to_owned();
    let healthy = format!("{}/healthz", node.url);
    is_answered(&healthy).await;
    let before = held(node.pid());
    let head = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}",
        "a".repeat(15_000)
    );
    let mut slow = Vec::new();
    for _ in 0..HEADS {
        let connecting = timeout(DEADLINE, TcpStream::connect(&address));
        let mut stream = connecting.await.expect("it is accepted").unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for some in slow.chunks_mut(50) {
        for stream in some {
            stream.write_all(b"a").await.unwrap();
        }
        // Sooner than any of them is given up (`http.head_s_max`, 30 s).
        let answered = timeout(Duration::from_secs(20), is_answered(&healthy)).await;
        answered.expect("nobody is held up");
    }
    let grown = held(node.pid()).saturating_sub(before);
    // 16 KiB of head for each, with room for what hyper and the allocator keep beside it.
    assert!(grown < HEADS as u64 * 64, "{grown} KiB for {HEADS} heads");
}
