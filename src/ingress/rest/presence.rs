//! `/v1/groups/{group}/presence`: who of a group is here now.

use schemars::JsonSchema;
use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::{Caller, Permit, Read};
use crate::error::Result;
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::id::UserId;

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::signed(app, Method::GET, "/v1/groups/{group}/presence", presence)
            .does("show_presence", "Shows which members have an open socket.")
            .answers::<Present>(StatusCode::OK, "Who is online now."),
    ]
}

/// `{"online":["u_…"]}`
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Presence")]
struct Present {
    /// In no order; null in a group that is too large to be told.
    online: Option<Vec<UserId>>,
}

async fn presence(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Read> = app.access.permit(caller, call.id("group")?).await?;
    let online = app.online.of(permit.group()).await?;
    Ok(reply::json(StatusCode::OK, &Present { online }))
}
