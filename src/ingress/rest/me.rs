//! `/v1/me`: the own profile.

use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::Caller;
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::merchant::Merchant;
use crate::model::user::User;

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![Route::signed(app, Method::GET, "/v1/me", read)]
}

/// `{"id":"u_…","name":"li.lei","display_name":"李雷","merchants":[{"id","name","role"}]}`
#[derive(Serialize)]
struct Profile {
    #[serde(flatten)]
    user: User,
    merchants: Vec<Merchant>,
}

async fn read(app: App, _call: Call, caller: Caller) -> Result<Response> {
    let ids = [caller.user];
    let (users, merchants) = futures::try_join!(
        app.directory.users(&ids),
        app.directory.merchants_of(caller.user),
    )?;
    let user = users
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("user"))?;
    Ok(reply::json(StatusCode::OK, &Profile { user, merchants }))
}
