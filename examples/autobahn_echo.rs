//! An echo server over the real handshake, decoder and send queue, for `scripts/autobahn`.
//!
//! Listens on a free port of the loopback and prints `listening 127.0.0.1:PORT`. Not part of the
//! server.

use std::{convert::Infallible, io, net::SocketAddr};

use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use qunliu::ingress::socket::{
    echo::serve_echo,
    handshake::Handshake,
    upgrade::{TakenOver, take_over},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// Upgrades that wait for the main loop to start their task.
const UPGRADES_WAITING_MAX: usize = 64;

type Upgrades = mpsc::Sender<OnUpgrade>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?);
    let (upgrades, mut upgraded) = mpsc::channel(UPGRADES_WAITING_MAX);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                tasks.spawn(serve_http(accepted?.0, upgrades.clone()));
            }
            Some(upgrade) = upgraded.recv() => {
                tasks.spawn(serve_socket(upgrade));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

#[expect(clippy::print_stdout, reason = "the script reads the port from here")]
fn announce(address: SocketAddr) {
    println!("listening {address}");
}

async fn serve_http(stream: TcpStream, upgrades: Upgrades) {
    let service = service_fn(|request| answer(request, upgrades.clone()));
    let server = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that breaks HTTP ends only its own connection.
    drop(server.with_upgrades().await);
}

async fn answer(
    mut request: Request<Incoming>,
    upgrades: Upgrades,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let checked = Handshake::check(request.method(), request.version(), request.headers(), &[]);
    Ok(match checked {
        Ok(handshake) => {
            // The receiver lives as long as the program.
            drop(upgrades.send(hyper::upgrade::on(&mut request)).await);
            handshake.response()
        }
        Err(error) => refusal(error.status()),
    })
}

fn refusal(status: hyper::StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

async fn serve_socket(upgrade: OnUpgrade) {
    if let Ok(TakenOver { stream, leftover }) = take_over::<TcpStream>(upgrade).await {
        serve_echo(stream, leftover).await;
    }
}
