//! Where most stories begin: a server, its owner, one member, and a group with both of them.

use serde_json::{Value, json};

use super::place::Place;
use super::server::{Answer, Person, TestServer};
use super::socket::Socket;

/// A server with a group of two.
pub(crate) struct Scene {
    pub(crate) server: TestServer,
    /// Owns the merchant and the group.
    pub(crate) owner: Person,
    /// A member.
    pub(crate) member: Person,
    /// The group's id. Its log holds the two `joined` events.
    pub(crate) group: String,
}

impl Scene {
    /// On these stores, with the defaults.
    pub(crate) async fn on(place: &Place) -> Self {
        Self::with(place, &[]).await
    }

    /// On these stores, with keys set as the environment sets them.
    pub(crate) async fn with(place: &Place, keys: &[(&str, &str)]) -> Self {
        let server = place.serve(keys).await;
        let owner = server.register("li.lei").await;
        let member = server.register("han.meimei").await;
        let group = found(&owner, "老街面馆 1 群", &[&member]).await;
        Self {
            server,
            owner,
            member,
            group,
        }
    }

    /// A greeted socket.
    pub(crate) async fn socket(&self, person: &Person, device: &str) -> Socket {
        Socket::greeted(&self.server, person, device).await
    }

    /// A socket that said `hello` with a cursor of the group; the welcome is still to be read.
    pub(crate) async fn resume(&self, person: &Person, device: &str, cursor: &Value) -> Socket {
        let cursors = json!({self.group.as_str(): cursor});
        Socket::hello(&self.server, person, device, &cursors).await
    }

    /// The path of the group.
    pub(crate) fn path(&self) -> String {
        format!("/v1/groups/{}", self.group)
    }

    /// Adds someone to the group.
    pub(crate) async fn add(&self, person: &Person) -> Answer {
        let body = json!({"users": [person.id]});
        let path = format!("{}/members", self.path());
        self.owner.client.post(&path, &body).await
    }

    /// Takes someone out of the group.
    pub(crate) async fn remove(&self, person: &Person) {
        let path = format!("{}/members/{}", self.path(), person.id);
        self.owner.client.delete(&path).await.no_content();
    }
}

/// Founds a group; answers its id.
pub(crate) async fn found(owner: &Person, name: &str, others: &[&Person]) -> String {
    let path = owner.found(name, others).await;
    path.rsplit('/').next().unwrap().to_owned()
}
