//! `/v1/groups/{group}/members`, `…/{user}` and `/v1/groups/{group}/leave`.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::{Appoint, Caller, Invite, Permit, Read, Remove};
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::group::Member;
use crate::model::id::UserId;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::user::User;
use crate::pipeline::commands::members::ADDED_MAX;

/// Members on a page: by default, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::signed(app, Method::GET, "/v1/groups/{group}/members", list),
        Route::signed(app, Method::POST, "/v1/groups/{group}/members", add),
        Route::signed(
            app,
            Method::PATCH,
            "/v1/groups/{group}/members/{user}",
            appoint,
        ),
        Route::signed(
            app,
            Method::DELETE,
            "/v1/groups/{group}/members/{user}",
            remove,
        ),
        Route::signed(app, Method::POST, "/v1/groups/{group}/leave", leave),
    ]
}

/// `{"users":["u_…"],"role":"member"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    users: Vec<UserId>,
    #[serde(default = "member")]
    role: Role,
}

const fn member() -> Role {
    Role::Member
}

/// `{"role":"admin"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Appointed {
    role: Role,
}

/// `{"user":{"id","name","display_name"},"role":"member","pos":[1,2]}`
#[derive(Serialize)]
struct MemberView {
    user: User,
    role: Role,
    pos: Position,
}

async fn list(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Read> = app.access.permit(caller, call.id("group")?).await?;
    let query = call.query(&["limit", "cursor"])?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let path = format!("/v1/groups/{}/members", permit.group());
    let after = query
        .get("cursor")
        .map(|cursor| place(&app, caller, &path, cursor))
        .transpose()?;
    let mut members = app
        .directory
        .members(permit.group(), after, limit + 1)
        .await?;
    let more = members.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    members.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = members.last().filter(|_| more);
    let next = last.map(|last| app.cursors.seal(caller.user, &path, last.user.as_bytes()));
    Ok(reply::page(
        &path,
        limit,
        &views(&app, members).await?,
        next.as_deref(),
    ))
}

async fn add(app: App, call: Call, caller: Caller) -> Result<Response> {
    #[derive(Serialize)]
    struct Answer {
        items: Vec<MemberView>,
    }
    let permit: Permit<Invite> = app.access.permit(caller, call.id("group")?).await?;
    let asked: Added = call.json()?;
    if !(1..=ADDED_MAX).contains(&asked.users.len()) {
        return Err(Error::field("users", format!("must name 1 to {ADDED_MAX}")));
    }
    let mut met = HashSet::new();
    let users: Vec<_> = asked
        .users
        .into_iter()
        .filter(|user| met.insert(*user))
        .collect();
    let members = app.members.add(permit, &users, asked.role).await?;
    let items = views(&app, members).await?;
    Ok(reply::json(StatusCode::CREATED, &Answer { items }))
}

async fn appoint(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Appoint> = app.access.permit(caller, call.id("group")?).await?;
    let user = call.id("user")?;
    let asked: Appointed = call.json()?;
    let member = app.members.appoint(permit, user, asked.role).await?;
    let view = views(&app, vec![member])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("member"))?;
    Ok(reply::json(StatusCode::OK, &view))
}

async fn remove(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Remove> = app.access.permit(caller, call.id("group")?).await?;
    app.members.remove(permit, call.id("user")?).await?;
    Ok(reply::no_content())
}

async fn leave(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Read> = app.access.permit(caller, call.id("group")?).await?;
    app.members.leave(permit).await?;
    Ok(reply::no_content())
}

/// The members with their names, in their order.
async fn views(app: &App, members: Vec<Member>) -> Result<Vec<MemberView>> {
    let ids: Vec<_> = members.iter().map(|member| member.user).collect();
    let users = app.directory.users(&ids).await?;
    let mut users: HashMap<_, _> = users.into_iter().map(|user| (user.id, user)).collect();
    let views = members
        .into_iter()
        .filter_map(|Member { user, role, joined }| {
            Some(MemberView {
                user: users.remove(&user)?,
                role,
                pos: joined,
            })
        });
    Ok(views.collect())
}

fn place(app: &App, caller: Caller, path: &str, cursor: &str) -> Result<UserId> {
    let bytes = app.cursors.open(caller.user, path, cursor)?;
    UserId::from_slice(&bytes)
        .ok_or_else(|| Error::field("cursor", "is of another version; begin without one"))
}
