//! A session on several nodes: how it goes on, and how fast its end must reach all it opened.

use std::time::{Duration, Instant};

use super::server::{Client, Person, TestServer};
use super::socket::Socket;

/// Two seconds are the aim of an end, and five its limit.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Someone with an open socket on each of these nodes.
pub(crate) struct Session {
    pub(crate) person: Person,
    open: Vec<(Client, Socket)>,
}

impl Session {
    /// Opens a socket on each.
    pub(crate) async fn open(nodes: &[TestServer], person: Person) -> Self {
        let mut open = Vec::new();
        for node in nodes {
            let device = uuid::Uuid::new_v4().to_string();
            let socket = Socket::greeted(node, &person, &device).await;
            open.push((person.client.at(node.address), socket));
        }
        Self { person, open }
    }

    /// Every socket is served, and the token is taken everywhere.
    pub(crate) async fn goes_on(&mut self) {
        for (client, socket) in &mut self.open {
            socket.settle().await;
            client.get("/v1/me").await.ok();
        }
    }

    /// The end that was answered just now closes every socket, and the token opens nothing any
    /// more.
    pub(crate) async fn is_cut_off(&mut self) {
        let ended = Instant::now();
        for (client, socket) in &mut self.open {
            assert_eq!(socket.closed().await, 4403);
            let after = ended.elapsed();
            assert!(after <= ENDS_WITHIN, "closed {after:?} after the end");
            client.get("/v1/me").await.problem(401, "unauthenticated");
        }
    }
}
