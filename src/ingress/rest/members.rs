//! `/v1/groups/{group}/members`, `…/{user}` and `/v1/groups/{group}/leave`.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode, header};
use warp::reply::Response;

use crate::access::{Appoint, Caller, Invite, Permit, Read, Remove};
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::openapi::parameter::Parameter;
use crate::ingress::reply::{self, Page};
use crate::ingress::route::Route;
use crate::model::group::Member;
use crate::model::id::UserId;
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::user::User;
use crate::pipeline::commands::members::ADDED_MAX;
use crate::protocol::code::ErrorCode;
use crate::store::roster::Viewer;

/// Members on a page: by default, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

/// What the query of the list may hold.
const QUERY: &[Parameter] = &[Parameter::limit(PAGE, PAGE_MAX), Parameter::cursor()];

/// The paths of this resource.
const LIST: &str = "/v1/groups/{group}/members";
const ONE: &str = "/v1/groups/{group}/members/{user}";

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::signed(app, Method::GET, LIST, list)
            .does("list_members", "Lists the members of a group, by id.")
            .asks(QUERY)
            .answers::<Page<'_, MemberView>>(StatusCode::OK, "A page of members.")
            .with_header(header::LINK, "The next page (RFC 8288), if there is one."),
        Route::signed(app, Method::POST, LIST, add)
            .does("add_members", "Makes people members, all or none.")
            .takes::<Added>()
            .answers::<Members>(StatusCode::CREATED, "Each of them as they are now.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::Conflict]),
        Route::signed(app, Method::PATCH, ONE, appoint)
            .does(
                "appoint_member",
                "Gives a member of a lower rank another role.",
            )
            .takes::<Appointed>()
            .answers::<MemberView>(StatusCode::OK, "The member as they are now.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::Conflict]),
        Route::signed(app, Method::DELETE, ONE, remove)
            .does("remove_member", "Removes a member of a lower rank.")
            .answers_nothing(StatusCode::NO_CONTENT, "They are no member any more.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::Conflict]),
        Route::signed(app, Method::POST, "/v1/groups/{group}/leave", leave)
            .does("leave_group", "Ends one's own membership.")
            .answers_nothing(StatusCode::NO_CONTENT, "One is no member any more.")
            .fails(&[ErrorCode::Conflict]),
    ]
}

/// `{"users":["u_…"],"role":"member"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Added {
    #[schemars(length(min = 1, max = ADDED_MAX))]
    users: Vec<UserId>,
    /// Below one's own rank.
    #[serde(default = "member")]
    role: Role,
}

const fn member() -> Role {
    Role::Member
}

/// `{"role":"admin"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Appointed {
    /// Below one's own rank.
    role: Role,
}

/// `{"user":{"id","name","display_name"},"role":"member","pos":[1,2]}`
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
struct MemberView {
    user: User,
    /// The role in the group itself.
    role: Role,
    /// Where they joined.
    pos: Position,
}

/// People who were asked to be members.
#[derive(Serialize, JsonSchema)]
struct Members {
    items: Vec<MemberView>,
}

async fn list(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Read> = app.access.permit(caller, call.id("group")?).await?;
    let query = call.query(QUERY)?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let path = format!("/v1/groups/{}/members", permit.group());
    let after = query
        .get("cursor")
        .map(|cursor| place(&app, caller, &path, cursor))
        .transpose()?;
    let viewer = Viewer {
        user: caller.user,
        rights: permit.rights(),
    };
    let mut members = app
        .roster
        .members(permit.group(), viewer, after, limit + 1)
        .await?;
    let more = members.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    members.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = members.last().filter(|_| more);
    let next = last.map(|last| app.cursors.seal(caller.user, &path, last.user.as_bytes()));
    Ok(reply::page(
        &path,
        limit,
        &views(&app, caller, members).await?,
        next.as_deref(),
    ))
}

async fn add(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Invite> = app.access.permit(caller, call.id("group")?).await?;
    let (asker, trace) = (call.asker(caller), call.trace);
    let asked: Added = call.json()?;
    if !(1..=ADDED_MAX).contains(&asked.users.len()) {
        return Err(Error::field("users", format!("must name 1 to {ADDED_MAX}")));
    }
    app.limits.additions(asker, asked.users.len())?;
    let mut met = HashSet::new();
    let users: Vec<_> = asked
        .users
        .into_iter()
        .filter(|user| met.insert(*user))
        .collect();
    let added = app.members.add(permit, &users, asked.role, trace).await;
    app.roster.wrote(caller.user);
    let items = views(&app, caller, added?).await?;
    Ok(reply::json(StatusCode::CREATED, &Members { items }))
}

async fn appoint(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Appoint> = app.access.permit(caller, call.id("group")?).await?;
    let (user, trace) = (call.id("user")?, call.trace);
    let asked: Appointed = call.json()?;
    let appointed = app.members.appoint(permit, user, asked.role, trace).await;
    app.roster.wrote(caller.user);
    let view = views(&app, caller, vec![appointed?])
        .await?
        .pop()
        .ok_or_else(|| Error::not_found("member"))?;
    Ok(reply::json(StatusCode::OK, &view))
}

async fn remove(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Remove> = app.access.permit(caller, call.id("group")?).await?;
    let removed = app.members.remove(permit, call.id("user")?, call.trace);
    let removed = removed.await;
    app.roster.wrote(caller.user);
    removed?;
    Ok(reply::no_content())
}

async fn leave(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<Read> = app.access.permit(caller, call.id("group")?).await?;
    app.members.leave(permit, call.trace).await?;
    Ok(reply::no_content())
}

/// The members with their names, in their order.
async fn views(app: &App, caller: Caller, members: Vec<Member>) -> Result<Vec<MemberView>> {
    let ids: Vec<_> = members.iter().map(|member| member.user).collect();
    let users = app.roster.names(caller.user, &ids).await?;
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
