//! The REST resources (protocol.md, "REST"), one file each, named after the path. A handler
//! reads the call, asks for a permit where a group is concerned, calls one command or read, and
//! renders the answer.
//!
//! To add a resource: a file with `routes`, and a line in [`public`]. Each route says there what
//! it takes and answers, and so stands in `/openapi.json` and on `/docs`. The authorisation matrix
//! in `tests/it/flow/matrix.rs` fails until the route has a row there.

use super::app::App;
use super::docs;
use super::page;
use super::route::Route;
use super::socket;

pub mod auth;
pub mod groups;
pub mod health;
pub mod me;
pub mod members;
pub mod messages;
pub mod metrics;
pub mod presence;
pub mod reads;
pub mod users;

/// The routes for clients.
pub fn public(app: &App) -> Vec<Route> {
    let resources = [
        auth::routes(app),
        me::routes(app),
        users::routes(app),
        groups::routes(app),
        members::routes(app),
        messages::routes(app),
        reads::routes(app),
        presence::routes(app),
        socket::route::routes(app),
        health::routes(app),
        page::routes(app),
    ];
    docs::describing(app, resources.into_iter().flatten().collect())
}

/// The routes for operators.
pub fn admin(app: &App) -> Vec<Route> {
    let resources = [health::routes(app), metrics::routes(app)];
    resources.into_iter().flatten().collect()
}
