//! `/v1/groups` and `/v1/groups/{group}`.

use schemars::JsonSchema;
use serde::Deserialize;
use warp::http::{Method, StatusCode, header};
use warp::reply::Response;

use crate::access::{Caller, ChangeSettings, Permit, Read};
use crate::egress::overview::{GroupState, GroupView};
use crate::error::{Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::openapi::parameter::Parameter;
use crate::ingress::reply::{self, Page};
use crate::ingress::route::Route;
use crate::model::id::{MerchantId, UserId};
use crate::model::name::ShownName;
use crate::model::position::Position;
use crate::pipeline::commands::groups::Founding;
use crate::pipeline::commands::members::ADDED_MAX;
use crate::protocol::code::ErrorCode;

/// The path of the list, and its name in cursors.
const LIST: &str = "/v1/groups";

/// Groups on a page: by default, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;

/// What the query of the list may hold.
const QUERY: &[Parameter] = &[Parameter::limit(PAGE, PAGE_MAX), Parameter::cursor()];

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::counted(app, Method::POST, LIST, found)
            .does("found_group", "Founds a group of one's merchant.")
            .takes::<NewGroup>()
            .answers::<GroupView<'_>>(StatusCode::CREATED, "The group.")
            .with_header(header::LOCATION, "The path of the group.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::NotFound]),
        Route::signed(app, Method::GET, LIST, list)
            .does("list_groups", "Lists one's groups, newest activity first.")
            .asks(QUERY)
            .answers::<Page<'_, GroupView<'_>>>(StatusCode::OK, "A page of groups.")
            .with_header(header::LINK, "The next page (RFC 8288), if there is one."),
        Route::signed(app, Method::GET, "/v1/groups/{group}", read)
            .does("read_group", "Tells what a group is at.")
            .answers::<GroupView<'_>>(StatusCode::OK, "The group."),
        Route::signed(app, Method::PATCH, "/v1/groups/{group}", change)
            .does("change_group", "Renames a group.")
            .takes::<Change>()
            .answers::<GroupView<'_>>(StatusCode::OK, "The group as it is now.")
            .fails(&[ErrorCode::Forbidden]),
    ]
}

/// `{"name":"老街面馆 1 群","members":["u_…"],"merchant":"t_…"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    #[schemars(with = "ShownName", example = &"老街面馆 1 群")]
    name: String,
    /// Who is in it from the beginning, beside oneself.
    #[serde(default)]
    #[schemars(length(max = ADDED_MAX))]
    members: Vec<UserId>,
    /// May be left out by staff of one merchant only.
    #[serde(default)]
    merchant: Option<MerchantId>,
}

/// `{"name":"老街面馆 2 群"}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GroupChange")]
struct Change {
    #[schemars(with = "ShownName", example = &"老街面馆 2 群")]
    name: String,
}

async fn found(app: App, call: Call, caller: Caller) -> Result<Response> {
    let (asker, trace) = (call.asker(caller), call.trace);
    app.limits.group(asker)?;
    let asked: NewGroup = call.json()?;
    if asked.members.len() > ADDED_MAX {
        return Err(Error::field(
            "members",
            format!("may name at most {ADDED_MAX}"),
        ));
    }
    app.limits.additions(asker, asked.members.len())?;
    let founding = Founding {
        name: shown(&asked.name)?,
        members: asked.members,
        merchant: asked.merchant,
    };
    let founded = app.groups.found(caller, founding, trace).await;
    app.roster.wrote(caller.user);
    let group = founded?;
    let state = state(&app, app.access.permit(caller, group).await?).await?;
    let mut response = reply::json(StatusCode::CREATED, &GroupView::of(&state));
    reply::set(&mut response, header::LOCATION, &format!("{LIST}/{group}"));
    Ok(response)
}

/// Newest activity first. A cursor names the last group of a page by its activity then, so a
/// group that becomes active meanwhile moves to pages already seen and hides no other.
async fn list(app: App, call: Call, caller: Caller) -> Result<Response> {
    let query = call.query(QUERY)?;
    let limit = query.limit(PAGE, PAGE_MAX)?;
    let after = query
        .get("cursor")
        .map(|cursor| place(&app, caller, cursor))
        .transpose()?;
    let mut states = app.overview.of(caller.user, None).await?;
    states.sort_by_key(|state| std::cmp::Reverse(rank(state)));
    states.retain(|state| after.is_none_or(|after| rank(state) < after));
    let more = states.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    states.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = states.last().filter(|_| more);
    let next = last.map(|state| {
        app.cursors
            .seal(caller.user, LIST, &place_bytes(rank(state)))
    });
    let views: Vec<_> = states.iter().map(GroupView::of).collect();
    Ok(reply::page(LIST, limit, &views, next.as_deref()))
}

async fn read(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit = app.access.permit(caller, call.id("group")?).await?;
    Ok(reply::json(
        StatusCode::OK,
        &GroupView::of(&state(&app, permit).await?),
    ))
}

async fn change(app: App, call: Call, caller: Caller) -> Result<Response> {
    let permit: Permit<ChangeSettings> = app.access.permit(caller, call.id("group")?).await?;
    let trace = call.trace;
    let asked: Change = call.json()?;
    let name = shown(&asked.name)?;
    app.groups.rename(permit, &name, trace).await?;
    let permit = app.access.permit(caller, permit.group()).await?;
    Ok(reply::json(
        StatusCode::OK,
        &GroupView::of(&state(&app, permit).await?),
    ))
}

/// What a group is at for the caller. Staff who are no members have read nothing and are told
/// no counts.
async fn state(app: &App, permit: Permit<Read>) -> Result<GroupState> {
    let ids = [permit.group()];
    let mut states = app.overview.of(permit.caller().user, Some(&ids)).await?;
    if let Some(state) = states.pop() {
        return Ok(state);
    }
    let group = app.directory.groups(&ids).await?.pop();
    let head = app.counts.head(permit.group()).await?;
    Ok(GroupState {
        group: group.ok_or_else(|| Error::not_found("group"))?,
        role: permit.role(),
        joined: Position::START,
        head: head.pos,
        stored: head.stored,
        count: head.count,
        unread: 0,
        mentions: 0,
        last: None,
        last_at: head.at,
    })
}

fn shown(name: &str) -> Result<ShownName> {
    ShownName::parse(name).map_err(|error| Error::field("name", error.to_string()))
}

/// The place of a group in the list.
type Rank = (i64, [u8; 16]);

fn rank(state: &GroupState) -> Rank {
    (state.last_at.as_millis(), *state.group.id.as_bytes())
}

fn place_bytes((millis, id): Rank) -> Vec<u8> {
    [&millis.to_be_bytes()[..], &id].concat()
}

fn place(app: &App, caller: Caller, cursor: &str) -> Result<Rank> {
    let bytes = app.cursors.open(caller.user, LIST, cursor)?;
    let split = bytes.split_first_chunk::<8>();
    let rank =
        split.and_then(|(millis, id)| Some((i64::from_be_bytes(*millis), id.try_into().ok()?)));
    rank.ok_or_else(|| Error::field("cursor", "is of another version; begin without one"))
}
