//! `/v1/users`: names of people whom one shares a group or a merchant with.

use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::Caller;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::openapi::parameter::Parameter;
use crate::ingress::reply::{self, Page};
use crate::ingress::route::Route;
use crate::model::id::UserId;
use crate::model::user::User;

/// The most people asked for at once.
const IDS_MAX: usize = 100;

/// What the query may hold.
const QUERY: &[Parameter] = &[Parameter::list::<UserId>("ids", "Of whom.", IDS_MAX)];

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::signed(app, Method::GET, "/v1/users", list)
            .does(
                "list_users",
                "Names people with whom one shares a group or a merchant.",
            )
            .asks(QUERY)
            .answers::<Page<'_, User>>(StatusCode::OK, "Those whom one may know of."),
    ]
}

/// `?ids=u_a,u_b` → `{"items":[{"id","name","display_name"}],"next":null}`; whoever one may not
/// know of is left out.
async fn list(app: App, call: Call, caller: Caller) -> Result<Response> {
    let query = call.query(QUERY)?;
    let ids = ids(query.get("ids").unwrap_or_default())?;
    let users = app.directory.visible_users(caller.user, &ids).await?;
    Ok(reply::page("/v1/users", 0, &users, None))
}

fn ids(text: &str) -> Result<Vec<UserId>> {
    let parsed = text.split(',').map(str::parse::<UserId>);
    let ids: std::result::Result<Vec<_>, _> = parsed.collect();
    let ids = ids.map_err(|error| Error::field("ids", error.to_string()))?;
    if ids.len() > IDS_MAX {
        return Err(Error::field("ids", format!("may name at most {IDS_MAX}")));
    }
    Ok(ids)
}
