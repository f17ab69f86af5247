use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    task::JoinSet,
    time::timeout,
};

use super::{Pushed, SendQueue, Unsent};

/// Far more than loopback sockets buffer.
const MORE_THAN_THE_KERNEL_TAKES: usize = 64 << 20;
const FRAME: Bytes = Bytes::from_static(b"\x81\x05hello");
const CLOSE: Bytes = Bytes::from_static(b"\x88\x02\x03\xe8");

struct Connection {
    queue: Arc<SendQueue>,
    /// Keeps the server's descriptor open.
    _input: OwnedReadHalf,
    client: TcpStream,
}

async fn connect(bytes_max: usize) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    server.writable().await.unwrap();
    let (input, output) = server.into_split();
    Connection {
        queue: Arc::new(SendQueue::new(output, bytes_max)),
        _input: input,
        client,
    }
}

/// A connection whose client does not read: the socket is full and part of `frame` is queued.
async fn connect_stuck(frame: &Bytes, bytes_max: usize) -> Connection {
    let connection = connect(bytes_max).await;
    while connection.queue.push(frame) == Pushed::Sent {}
    assert!(!connection.queue.is_idle());
    connection
}

fn large_frame() -> Bytes {
    Bytes::from(vec![b'x'; 1 << 20])
}

/// Reads to the end while the owner writes.
async fn read_all(connection: &mut Connection) -> Vec<u8> {
    let mut received = Vec::new();
    let Connection { queue, client, .. } = connection;
    let (pumped, read) = tokio::join!(queue.pump(), client.read_to_end(&mut received));
    pumped.unwrap();
    read.unwrap();
    received
}

#[test]
fn idle_queue_is_small() {
    assert!(size_of::<SendQueue>() <= 80, "{}", size_of::<SendQueue>());
}

#[tokio::test]
async fn frame_goes_straight_to_an_idle_socket() {
    let mut connection = connect(1000).await;
    assert_eq!(connection.queue.push(&FRAME), Pushed::Sent);
    assert!(connection.queue.is_idle());
    let mut received = [0; 7];
    connection.client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, *FRAME);
}

#[tokio::test]
async fn frames_arrive_whole_and_in_order_through_a_full_socket() {
    let mut connection = connect(MORE_THAN_THE_KERNEL_TAKES).await;
    let mut sent = Vec::new();
    for n in 0..4_u8 {
        for len in [3_usize << 20, 1, 1000] {
            let frame = Bytes::from(vec![n; len]);
            assert!(matches!(
                connection.queue.push(&frame),
                Pushed::Sent | Pushed::Queued
            ));
            sent.extend(frame);
        }
    }
    connection.queue.close(&CLOSE, Unsent::Deliver);
    sent.extend(CLOSE);
    assert!(read_all(&mut connection).await == sent);
    assert!(connection.queue.is_idle());
}

#[tokio::test]
async fn frames_of_several_tasks_never_interleave() {
    let mut connection = connect(MORE_THAN_THE_KERNEL_TAKES).await;
    let mut tasks = JoinSet::new();
    for n in 0..4_u8 {
        let queue = Arc::clone(&connection.queue);
        tasks.spawn_blocking(move || {
            let frame = Bytes::from(vec![n; 100_003]);
            for _ in 0..20 {
                assert_ne!(queue.push(&frame), Pushed::Full);
            }
        });
    }
    tasks.join_all().await;
    connection.queue.close(&CLOSE, Unsent::Deliver);
    let received = read_all(&mut connection).await;
    let (frames, rest) = received.as_chunks::<100_003>();
    assert_eq!((frames.len(), rest), (80, CLOSE.as_ref()));
    assert!(
        frames
            .iter()
            .all(|frame| frame.iter().all(|byte| *byte == frame[0]))
    );
}

#[tokio::test]
async fn frame_over_the_bound_is_refused_and_nothing_is_queued() {
    let large = large_frame();
    let connection = connect_stuck(&large, 2 << 20).await;
    let queued_bytes = connection.queue.queued_bytes();
    assert!(queued_bytes <= 1 << 20);
    assert_eq!(connection.queue.push(&large), Pushed::Queued);
    assert_eq!(connection.queue.push(&large), Pushed::Full);
    assert_eq!(connection.queue.queued_bytes(), queued_bytes + large.len());
}

#[tokio::test]
async fn bound_holds_for_the_first_frame_of_an_idle_queue() {
    let connection = connect(6).await;
    assert_eq!(connection.queue.push(&FRAME), Pushed::Full);
    assert_eq!(connection.queue.hold(&FRAME), Pushed::Full);
    assert!(connection.queue.is_idle());
}

#[tokio::test]
async fn age_of_the_queue_counts_from_its_first_frame() {
    let mut connection = connect(MORE_THAN_THE_KERNEL_TAKES).await;
    assert_eq!(connection.queue.stuck_since(), None);
    let large = large_frame();
    while connection.queue.push(&large) == Pushed::Sent {}
    let since = connection.queue.stuck_since();
    assert!(since.is_some());
    assert_eq!(connection.queue.push(&FRAME), Pushed::Queued);
    assert_eq!(connection.queue.stuck_since(), since);
    connection.queue.close(&CLOSE, Unsent::Deliver);
    read_all(&mut connection).await;
    assert_eq!(connection.queue.stuck_since(), None);
}

#[tokio::test]
async fn held_frames_wait_for_their_release() {
    let mut connection = connect(1000).await;
    assert_eq!(connection.queue.hold(&FRAME), Pushed::Queued);
    assert_eq!(connection.queue.push(&FRAME), Pushed::Queued);
    let mut received = [0; 14];
    let early = connection.client.try_read(&mut received);
    assert_eq!(early.unwrap_err().kind(), ErrorKind::WouldBlock);
    connection.queue.release();
    assert!(connection.queue.is_idle());
    connection.client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, *[FRAME, FRAME].concat());
}

#[tokio::test]
async fn release_of_an_idle_queue_does_nothing() {
    let connection = connect(1000).await;
    connection.queue.release();
    assert!(connection.queue.is_idle());
}

#[tokio::test]
async fn nothing_is_accepted_after_a_close_frame() {
    let mut connection = connect(1000).await;
    connection.queue.close(&CLOSE, Unsent::Deliver);
    assert_eq!(connection.queue.push(&FRAME), Pushed::Closed);
    assert_eq!(connection.queue.hold(&FRAME), Pushed::Closed);
    connection.queue.close(&CLOSE, Unsent::Deliver);
    assert_eq!(read_all(&mut connection).await, CLOSE);
}

#[tokio::test]
async fn close_frame_follows_held_frames_and_exceeds_the_bound() {
    let mut connection = connect(FRAME.len()).await;
    assert_eq!(connection.queue.hold(&FRAME), Pushed::Queued);
    connection.queue.close(&CLOSE, Unsent::Deliver);
    assert_eq!(read_all(&mut connection).await, [FRAME, CLOSE].concat());
}

#[tokio::test]
async fn discarding_close_finishes_the_begun_frame_only() {
    let large = large_frame();
    let mut connection = connect_stuck(&large, 4 << 20).await;
    let begun_bytes = connection.queue.queued_bytes();
    assert_eq!(connection.queue.push(&large), Pushed::Queued);
    connection.queue.close(&CLOSE, Unsent::Discard);
    assert_eq!(
        connection.queue.queued_bytes(),
        begun_bytes % large.len() + CLOSE.len()
    );
    let received = read_all(&mut connection).await;
    assert!(received.ends_with(&CLOSE));
    assert_eq!((received.len() - CLOSE.len()) % large.len(), 0);
}

#[tokio::test]
async fn abort_ends_the_stream_and_frees_the_queue() {
    let mut connection = connect_stuck(&large_frame(), 4 << 20).await;
    connection.queue.abort();
    assert_eq!(connection.queue.queued_bytes(), 0);
    assert_eq!(connection.queue.push(&FRAME), Pushed::Closed);
    read_all(&mut connection).await;
}

#[tokio::test]
async fn flush_of_an_idle_queue_returns_at_once() {
    let connection = connect(1000).await;
    timeout(Duration::ZERO, connection.queue.flush())
        .await
        .unwrap()
        .unwrap();
}

/// Starts the owner's task and lets it come to its wait.
async fn pumping(connection: &Connection) -> JoinSet<io::Result<()>> {
    let queue = Arc::clone(&connection.queue);
    let mut owner = JoinSet::new();
    owner.spawn(async move { queue.pump().await });
    tokio::task::yield_now().await;
    owner
}

#[tokio::test]
async fn waiting_pump_is_woken_by_a_full_socket() {
    let mut connection = connect(MORE_THAN_THE_KERNEL_TAKES).await;
    let mut owner = pumping(&connection).await;
    let large = Bytes::from(vec![b'x'; 16 << 20]);
    assert_eq!(connection.queue.push(&large), Pushed::Queued);
    let mut received = vec![0; large.len()];
    connection.client.read_exact(&mut received).await.unwrap();
    connection.queue.close(&CLOSE, Unsent::Deliver);
    owner.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn waiting_pump_is_woken_by_a_close_behind_held_frames() {
    let connection = connect(1000).await;
    let mut owner = pumping(&connection).await;
    assert_eq!(connection.queue.hold(&FRAME), Pushed::Queued);
    connection.queue.close(&CLOSE, Unsent::Deliver);
    owner.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn failure_is_told_to_the_owner_once() {
    let Connection {
        queue,
        _input,
        client,
    } = connect_stuck(&large_frame(), 4 << 20).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let failure = queue.flush().await.unwrap_err();
    assert!(matches!(
        failure.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    ));
    assert_eq!(queue.push(&FRAME), Pushed::Closed);
    assert!(queue.flush().await.is_ok() && queue.is_idle());
}
