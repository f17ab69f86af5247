//! The floor of `make bench`: what delivering costs the kernel and nothing else. One thread, epoll,
//! one `write` for each frame, no protocol, nothing kept. What a server adds to this is its own.
//!
//! `floor serve` prints its address. A connection says the numbers of its groups in one line, as in
//! `1 4 7`; each byte that it sends afterwards is the number of a group, whose connections are all
//! written a frame of `FRAME` bytes.
//!
//! `floor drive ADDRESS PID SOCKETS GROUPS RATE SECONDS` deals sockets into groups as `qunliu load`
//! does, with readers on as many threads, for what a write costs depends on who is woken by it; speaks at a rate
//! that does not wait for answers, and prints the deliveries and what each cost
//! the process `PID`.

#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream as Socket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use qunliu::cli::load::cpu::used;

/// What a frame of the chat measures in the same bench, on average.
const FRAME: usize = 320;
/// Groups of one socket, as `qunliu load` deals them.
const GROUPS_EACH: usize = 4;
const LISTENER: Token = Token(usize::MAX);

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve"] => serve(),
        ["drive", address, pid, numbers @ ..] => {
            let numbers: Vec<usize> = numbers
                .iter()
                .map(|n| n.parse())
                .collect::<Result<_, _>>()?;
            let [sockets, groups, rate, seconds] = numbers[..] else {
                return Err("drive ADDRESS PID SOCKETS GROUPS RATE SECONDS".into());
            };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(drive(
                address.parse()?,
                pid.parse()?,
                (sockets, groups),
                (rate, seconds),
            ))
        }
        _ => Err("floor serve | floor drive …".into()),
    }
}

struct Connection {
    stream: TcpStream,
    /// Whether it said its groups.
    is_known: bool,
}

fn serve() -> Done {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_addr()?);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Connection> = Vec::new();
    let mut groups: HashMap<u8, Vec<usize>> = HashMap::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&poll, &listener, &mut connections)?;
            } else {
                read(event.token().0, &mut connections, &mut groups);
            }
        }
    }
}

fn accept(poll: &Poll, listener: &TcpListener, connections: &mut Vec<Connection>) -> Done {
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let token = Token(connections.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        connections.push(Connection {
            stream,
            is_known: false,
        });
    }
    Ok(())
}

fn read(index: usize, connections: &mut [Connection], groups: &mut HashMap<u8, Vec<usize>>) {
    let mut buffer = [0; 1024];
    loop {
        let connection = &mut connections[index];
        let count = match connection.stream.read(&mut buffer) {
            Ok(count @ 1..) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => return drop(connection.stream.shutdown(Shutdown::Both)),
        };
        if connection.is_known {
            for group in &buffer[..count] {
                tell(groups.get(group).map(Vec::as_slice), connections);
            }
        } else {
            connection.is_known = true;
            let line = String::from_utf8_lossy(&buffer[..count]);
            for group in line.split_whitespace().filter_map(|word| word.parse().ok()) {
                groups.entry(group).or_default().push(index);
            }
        }
    }
}

fn tell(listeners: Option<&[usize]>, connections: &mut [Connection]) {
    static FRAME_BYTES: [u8; FRAME] = [b'.'; FRAME];
    for index in listeners.unwrap_or_default() {
        // A reader that lags behind would need a queue, which the floor has none of.
        drop(connections[*index].stream.write(&FRAME_BYTES));
    }
}

async fn drive(
    address: SocketAddr,
    pid: u32,
    (sockets, groups): (usize, usize),
    (rate, seconds): (usize, usize),
) -> Done {
    let mut writers = Vec::with_capacity(sockets);
    let mut readers = JoinSet::new();
    for index in 0..sockets {
        let (mut reader, mut writer) = Socket::connect(address).await?.into_split();
        let line: String = own(index, groups)
            .map(|group| format!("{group} "))
            .collect();
        writer.write_all(line.as_bytes()).await?;
        writers.push(writer);
        readers.spawn(async move {
            let (mut buffer, mut bytes) = (vec![0; 16 * 1024], 0);
            while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                bytes += count;
            }
            bytes
        });
    }
    sleep(Duration::from_millis(500)).await;
    let (before, began) = (used(pid)?, Instant::now());
    let count = rate * seconds;
    for said in 0..count {
        let due = Duration::from_secs_f64(f64::from(u32::try_from(said)?) / rate as f64);
        sleep_until(began + due).await;
        let speaker = said * 7 % sockets;
        let group = own(speaker, groups).nth(said % GROUPS_EACH).unwrap_or(0);
        writers[speaker].write_all(&[u8::try_from(group)?]).await?;
    }
    sleep(Duration::from_secs(1)).await;
    let cpu = (used(pid)? - before).as_secs_f64();
    drop(writers);
    let mut bytes = 0;
    while let Some(read) = readers.join_next().await {
        bytes += read?;
    }
    let deliveries = bytes / FRAME;
    let wanted: usize = (0..count)
        .map(|said| own(said * 7 % sockets, groups).nth(said % GROUPS_EACH))
        .map(|group| {
            (0..sockets)
                .filter(|s| own(*s, groups).any(|g| Some(g) == group))
                .count()
        })
        .sum();
    if deliveries != wanted {
        return Err(format!("{deliveries} of {wanted} frames came").into());
    }
    println!(
        "deliveries {deliveries} cpu_us {:.2}",
        cpu * 1e6 / deliveries as f64
    );
    Ok(())
}

/// The groups of a socket.
fn own(socket: usize, groups: usize) -> impl Iterator<Item = usize> {
    (0..GROUPS_EACH.min(groups)).map(move |step| (socket + step * 3) % groups)
}
