//! `--idle N`: what an idle connection costs the server in memory. N sockets say hello and then
//! only listen; the memory of the server's process is read when some are open and when all are.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::rest::{Account, Node};
use super::setup::Impossible;
use super::socket::{Socket, connect};
use super::wire::{ClientFrame, ServerFrame};
use crate::lifecycle::Tasks;

/// Sockets that one user may have (protocol.md, `sockets_per_user`).
pub const SOCKETS_PER_USER: usize = 5;
/// How many sockets are opened at once.
const OPENED_AT_ONCE: usize = 64;
/// How long the welcome may take.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Resident pages.
    pub rss: u64,
    /// Pages that no file backs: heap and stacks.
    pub anonymous: u64,
    /// Pages that only this process has and that were written.
    pub private_dirty: u64,
}

impl Memory {
    /// The memory of the process with this id (proc(5), `smaps_rollup`).
    ///
    /// # Errors
    /// There is no such process, or it belongs to someone else.
    pub fn of(pid: u32) -> Result<Self, Impossible> {
        let path = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| Impossible::File {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0).saturating_mul(1024)
        };
        Self {
            rss: field("Rss"),
            anonymous: field("Anonymous"),
            private_dirty: field("Private_Dirty"),
        }
    }
}

/// Opens the sockets of these numbers, at most five for each account, and keeps them open and heard
/// until `tasks` stop. Answers when all got their welcome.
///
/// # Errors
/// A socket could not be opened.
pub async fn open_sockets(
    nodes: &[Node],
    accounts: &[Account],
    numbers: Range<usize>,
    tasks: &Tasks,
    tick: impl Fn(),
) -> Result<(), Impossible> {
    let (failures, mut failed) = mpsc::channel::<String>(1);
    let opened = stream::iter(numbers).map(|index| {
        let account = &accounts[index / SOCKETS_PER_USER % accounts.len()];
        let token = account.tokens.access_token.clone();
        let device = format!("idle-{}", index % SOCKETS_PER_USER);
        greet(&nodes[index % nodes.len()], token, device)
    });
    let mut opened = opened.buffer_unordered(OPENED_AT_ONCE);
    while let Some(socket) = opened.next().await {
        tasks.spawn(listen(socket?, failures.clone()));
        tick();
    }
    match failed.try_recv() {
        Ok(reason) => Err(Impossible::Connect(reason)),
        Err(_) => Ok(()),
    }
}

/// Opens one socket for each account, as [`open_sockets`] does.
///
/// # Errors
/// A socket could not be opened.
pub async fn open_each(
    nodes: &[Node],
    accounts: &[Account],
    tasks: &Tasks,
) -> Result<(), Impossible> {
    for (index, account) in accounts.iter().enumerate() {
        let node = &nodes[index % nodes.len()];
        let token = account.tokens.access_token.clone();
        let socket = greet(node, token, "idle".to_owned()).await?;
        let (failures, _) = mpsc::channel(1);
        tasks.spawn(listen(socket, failures));
    }
    Ok(())
}

/// Opens a socket, says hello and waits for the welcome.
async fn greet(node: &Node, token: String, device: String) -> Result<Socket, Impossible> {
    let broken = |error: &dyn std::fmt::Display| Impossible::Connect(format!("a socket: {error}"));
    let mut socket = connect(node).await.map_err(|error| broken(&error))?;
    let hello = ClientFrame::Hello {
        token,
        device,
        cursors: Default::default(),
    };
    let sent = socket.send(Message::text(hello.encode())).await;
    sent.map_err(|error| broken(&error))?;
    let welcomed = tokio::time::timeout(WELCOME_TIMEOUT, wait_welcome(&mut socket)).await;
    match welcomed {
        Ok(Ok(())) => Ok(socket),
        Ok(Err(instead)) => Err(Impossible::Connect(format!("no welcome but {instead}"))),
        Err(_) => Err(Impossible::Connect("no welcome in time".to_owned())),
    }
}

/// Reads up to the welcome; an error is what came instead of it.
async fn wait_welcome(socket: &mut Socket) -> Result<(), String> {
    while let Some(frame) = socket.next().await {
        let text = match frame {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(close)) => return Err(format!("a close: {close:?}")),
            Ok(_) => continue,
            Err(error) => return Err(error.to_string()),
        };
        match ServerFrame::parse(&text) {
            Ok(ServerFrame::Welcome(_)) => return Ok(()),
            Ok(ServerFrame::Error(_)) | Err(_) => return Err(text.to_string()),
            Ok(_) => {}
        }
    }
    Err("the end".to_owned())
}

/// Reads and drops what comes, which also answers pings. A socket that ends is told once.
async fn listen(mut socket: Socket, failures: mpsc::Sender<String>) {
    while let Some(Ok(frame)) = socket.next().await {
        if let Message::Close(close) = frame {
            let told = failures.try_send(format!("the server closed an idle socket: {close:?}"));
            return told.unwrap_or_default();
        }
    }
    failures
        .try_send("an idle socket broke".to_owned())
        .unwrap_or_default();
}

/// The Markdown table of a memory run: what so many sockets took, then so many more.
pub fn table([few, many]: [usize; 2], [before, after]: [Memory; 2]) -> String {
    let mut text =
        format!("| memory of the server | with {few} idle | with {many} | per connection |\n");
    text.push_str("| --- | ---: | ---: | ---: |\n");
    let more = u64::try_from(many.saturating_sub(few).max(1)).unwrap_or(u64::MAX);
    let rows = [
        ("resident", before.rss, after.rss),
        ("anonymous", before.anonymous, after.anonymous),
        ("private dirty", before.private_dirty, after.private_dirty),
    ];
    for (what, before, after) in rows {
        let each = after.saturating_sub(before) / more;
        let (before, after) = (before / 1024, after / 1024);
        text.push_str(&format!(
            "| {what} | {before} KiB | {after} KiB | {each} B |\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_a_rollup() {
        let text = "00400000-7ffd [rollup]\nRss:  2048 kB\nPss:  1 kB\nPrivate_Dirty:   512 kB\nAnonymous:  1024 kB\n";
        let memory = Memory::parse(text);
        assert_eq!(memory.rss, 2 << 20);
        assert_eq!(memory.private_dirty, 512 << 10);
        let table = table([512, 1536], [Memory::default(), memory]);
        assert!(
            table.contains("| anonymous | 0 KiB | 1024 KiB | 1024 B |"),
            "{table}"
        );
    }
}
