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
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
mod drive;

use drive::{Done, Load, run};

/// What a frame of the chat measures in the same bench, on average.
const FRAME: usize = 320;
/// Groups of one socket, as `qunliu load` deals them.
const GROUPS_EACH: usize = 4;
const LISTENER: Token = Token(usize::MAX);

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
            let load = Load {
                sockets,
                groups,
                rate,
                seconds,
            };
            run(drive(&load, address.parse()?, pid.parse()?))
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

async fn drive(load: &Load, address: SocketAddr, pid: u32) -> Done {
    let (sockets, groups) = (load.sockets, load.groups);
    let greeting = |index| {
        let line: String = own(index, groups)
            .map(|group| format!("{group} "))
            .collect();
        line.into_bytes()
    };
    let spoken = |said: usize| {
        let speaker = said * 7 % sockets;
        let group = own(speaker, groups).nth(said % GROUPS_EACH).unwrap_or(0);
        (speaker, group)
    };
    let say = |said| {
        let (speaker, group) = spoken(said);
        Ok((speaker, vec![u8::try_from(group)?]))
    };
    let heard = load.drive(address, &[pid], greeting, say).await?;
    let deliveries = heard.bytes / FRAME;
    let listeners = |group| {
        (0..sockets)
            .filter(|socket| own(*socket, groups).any(|of| of == group))
            .count()
    };
    let wanted: usize = (0..load.count())
        .map(|said| listeners(spoken(said).1))
        .sum();
    if deliveries != wanted {
        return Err(format!("{deliveries} of {wanted} frames came").into());
    }
    let each = heard.spent.as_secs_f64() * 1e6 / deliveries as f64;
    println!("deliveries {deliveries} cpu_us {each:.2}");
    Ok(())
}

/// The groups of a socket.
fn own(socket: usize, groups: usize) -> impl Iterator<Item = usize> {
    (0..GROUPS_EACH.min(groups)).map(move |step| (socket + step * 3) % groups)
}
