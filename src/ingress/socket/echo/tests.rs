//! The transport as a client sees it: decoder, reader, queue and close on one socket.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::serve_echo;

const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
const HELLO_BACK: &[u8] = b"\x81\x05hello";

/// A client, and the task that serves it.
async fn connect(leftover: &[u8]) -> (TcpStream, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let mut server = JoinSet::new();
    server.spawn(serve_echo(stream, leftover.to_vec()));
    (client, server)
}

async fn read(client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut received = vec![0; len];
    client.read_exact(&mut received).await.unwrap();
    received
}

async fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    received
}

#[tokio::test]
async fn leftover_frame_comes_first() {
    let (mut client, _server) = connect(HELLO).await;
    assert_eq!(read(&mut client, HELLO_BACK.len()).await, HELLO_BACK);
    client.write_all(b"\x89\x81\0\0\0\0?").await.unwrap();
    assert_eq!(read(&mut client, 3).await, b"\x8a\x01?");
}

#[tokio::test]
async fn frame_may_be_cut_between_leftover_and_socket() {
    let (mut client, _server) = connect(&HELLO[..7]).await;
    client.write_all(&HELLO[7..]).await.unwrap();
    assert_eq!(read(&mut client, HELLO_BACK.len()).await, HELLO_BACK);
}

#[tokio::test]
async fn close_is_answered_and_the_stream_ended() {
    let (mut client, mut server) = connect(b"").await;
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, b"\x88\x02\x03\xe8");
    drop(client);
    server.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn fault_is_told_and_what_was_on_its_way_is_taken() {
    let (mut client, mut server) = connect(b"").await;
    client.write_all(b"\xff\x80").await.unwrap();
    let received = read_to_end(&mut client).await;
    assert_eq!(
        (received[0], &received[2..4]),
        (0x88, [0x03, 0xea].as_slice())
    );
    // Were the socket gone, the kernel would answer the first of these with a reset.
    for _ in 0..10 {
        client.write_all(&[0; 100_000]).await.unwrap();
    }
    drop(client);
    server.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn client_that_never_ends_is_dropped_after_the_grace() {
    let (mut client, mut server) = connect(b"").await;
    client.write_all(b"\x88\x80\0\0\0\0").await.unwrap();
    let served = timeout(Duration::from_secs(5), server.join_next()).await;
    served.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn lost_connection_ends_the_task() {
    let (client, mut server) = connect(b"").await;
    drop(client);
    let served = timeout(Duration::from_secs(5), server.join_next()).await;
    served.unwrap().unwrap().unwrap();
}
