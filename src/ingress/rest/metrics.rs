//! `/metrics`, on the admin listener only.

use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;

/// The text format that Prometheus scrapes.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::probe(app, Method::GET, "/metrics", read)
            .does("metrics", "Tells what is counted, for Prometheus.")
            .answers_as::<String>(StatusCode::OK, "All metrics.", PROMETHEUS),
    ]
}

async fn read(app: App, _call: Call) -> Result<Response> {
    let text = app.metrics.encode().map_err(Error::internal)?;
    Ok(reply::with_text(StatusCode::OK, PROMETHEUS, text))
}
