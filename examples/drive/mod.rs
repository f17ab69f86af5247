//! What drives the floors of `make bench`: sockets that only listen, and frames that are said at a rate that
//! waits for no answer.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream as Socket;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use qunliu::cli::load::cpu::used_by;

pub(crate) type Done<T = ()> = Result<T, Box<dyn Error>>;

/// How much is said, and how fast.
pub(crate) struct Load {
    pub(crate) sockets: usize,
    pub(crate) groups: usize,
    /// Frames a second.
    pub(crate) rate: usize,
    pub(crate) seconds: usize,
}

/// What came of it.
pub(crate) struct Heard {
    /// On all sockets.
    pub(crate) bytes: usize,
    /// CPU time of the processes that were looked at.
    pub(crate) spent: Duration,
}

/// Runs what drives a floor, on as many threads as the load tool: what a write costs a server depends on
/// whom it wakes.
pub(crate) fn run(driver: impl Future<Output = Done>) -> Done {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(driver)
}

impl Load {
    /// Frames in all.
    pub(crate) const fn count(&self) -> usize {
        self.rate * self.seconds
    }

    /// Opens the sockets, each with its `greeting`; then has each frame said that `say` answers, with the
    /// socket that says it.
    pub(crate) async fn drive(
        &self,
        address: SocketAddr,
        pids: &[u32],
        greeting: impl Fn(usize) -> Vec<u8>,
        say: impl Fn(usize) -> Done<(usize, Vec<u8>)>,
    ) -> Done<Heard> {
        let (mut writers, mut readers) = (Vec::with_capacity(self.sockets), JoinSet::new());
        for index in 0..self.sockets {
            let (mut reader, mut writer) = Socket::connect(address).await?.into_split();
            writer.write_all(&greeting(index)).await?;
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
        let (before, began) = (used_by(pids)?, Instant::now());
        for said in 0..self.count() {
            sleep_until(began + Duration::from_secs_f64(said as f64 / self.rate as f64)).await;
            let (speaker, frame) = say(said)?;
            writers[speaker].write_all(&frame).await?;
        }
        sleep(Duration::from_secs(1)).await;
        let spent = used_by(pids)? - before;
        drop(writers);
        let mut bytes = 0;
        while let Some(read) = readers.join_next().await {
            bytes += read?;
        }
        Ok(Heard { bytes, spent })
    }
}
