//! A fixed address before servers that change: what a proxy or a moved IP address is to clients
//! when a replica is promoted.

use std::net::SocketAddr;

use qunliu::lifecycle::Tasks;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to one server at a time. It ends when this is dropped.
pub(crate) struct Forwarder {
    address: SocketAddr,
    target: watch::Sender<u16>,
}

impl Forwarder {
    /// To the server on this local port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, targets) = watch::channel(port);
        let tasks = Tasks::default();
        tasks.spawn(accept(listener, targets, tasks.clone()));
        Self { address, target }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Forwards to another one; connections to the old one are cut.
    pub(crate) fn switch(&self, port: u16) {
        self.target.send_replace(port);
    }
}

async fn accept(listener: TcpListener, mut targets: watch::Receiver<u16>, tasks: Tasks) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                tasks.spawn(forward(client, targets.clone()));
            }
            changed = targets.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

async fn forward(mut client: TcpStream, mut targets: watch::Receiver<u16>) {
    let target = *targets.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => {}
        _changed = targets.changed() => {}
    }
}
