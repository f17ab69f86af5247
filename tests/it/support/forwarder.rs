//! A fixed address before servers that change: what a proxy or a moved IP address is to clients
//! when a replica is promoted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use qunliu::lifecycle::Tasks;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to one server at a time. It ends when this is dropped.
pub(crate) struct Forwarder {
    address: SocketAddr,
    target: Arc<AtomicU16>,
    cut: watch::Sender<()>,
}

impl Forwarder {
    /// To the server on this local port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cuts) = watch::channel(());
        let target = Arc::new(AtomicU16::new(port));
        let tasks = Tasks::default();
        tasks.spawn(accept(listener, target.clone(), cuts, tasks.clone()));
        Self {
            address,
            target,
            cut,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Forwards to another one; connections to the old one are cut.
    pub(crate) fn switch(&self, port: u16) {
        self.lead(port);
        self.cut.send_replace(());
    }

    /// Forwards new connections to another one; those to the old one stay.
    pub(crate) fn lead(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<AtomicU16>,
    mut cuts: watch::Receiver<()>,
    tasks: Tasks,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                tasks.spawn(forward(client, target.load(Ordering::Relaxed), cuts.clone()));
            }
            changed = cuts.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

async fn forward(mut client: TcpStream, target: u16, mut cuts: watch::Receiver<()>) {
    cuts.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => {}
        _changed = cuts.changed() => {}
    }
}
