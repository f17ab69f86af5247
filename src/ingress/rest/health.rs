//! `/healthz`: this process lives. `/readyz`: it can serve, or what is missing. On both
//! listeners.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::error::Result;
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::id::Partition;

/// How long a store may take to count as there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::probe(app, Method::GET, "/healthz", live)
            .does("healthz", "Tells that this process lives.")
            .answers::<Live>(StatusCode::OK, "It lives."),
        Route::probe(app, Method::GET, "/readyz", ready)
            .does("readyz", "Tells whether this process can serve.")
            .answers::<Ready>(StatusCode::OK, "It can serve.")
            .answers::<Ready>(StatusCode::SERVICE_UNAVAILABLE, "It cannot, and why."),
    ]
}

#[derive(Serialize, JsonSchema)]
struct Live {
    #[schemars(example = &"ok")]
    status: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Ready {
    ready: bool,
    /// `directory`, `log`, `messages` or `draining`.
    missing: Vec<&'static str>,
}

async fn live(_app: App, _call: Call) -> Result<Response> {
    Ok(reply::json(StatusCode::OK, &Live { status: "ok" }))
}

async fn ready(app: App, _call: Call) -> Result<Response> {
    let missing = missing(&app).await;
    let status = match missing.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(reply::json(
        status,
        &Ready {
            ready: missing.is_empty(),
            missing,
        },
    ))
}

/// What keeps this process from serving, by name.
async fn missing(app: &App) -> Vec<&'static str> {
    let (directory, log, messages) = tokio::join!(
        timeout(ANSWERS_WITHIN, app.directory.users(&[])),
        timeout(ANSWERS_WITHIN, app.log.history(Partition(0))),
        timeout(ANSWERS_WITHIN, app.epochs.fence(Partition(0))),
    );
    let checks = [
        ("directory", matches!(directory, Ok(Ok(_)))),
        ("log", matches!(log, Ok(Ok(_)))),
        ("messages", matches!(messages, Ok(Ok(_)))),
        ("draining", !app.tasks.draining().is_cancelled()),
    ];
    let missing = checks.into_iter().filter(|(_, is_there)| !is_there);
    missing.map(|(name, _)| name).collect()
}
