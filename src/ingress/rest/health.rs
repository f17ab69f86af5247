//! `/healthz`: this process lives. `/readyz`: it can serve, or what is missing. On both
//! listeners.

use schemars::JsonSchema;
use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::error::Result;
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;

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
    let mut missing = app.readiness.missing().await;
    if app.tasks.draining().is_cancelled() {
        missing.push("draining");
    }
    missing
}
