//! `/v1/groups/{group}/read` and `/v1/unread`: read marks and counts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::{Caller, Read};
use crate::error::Result;
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::model::id::GroupId;
use crate::model::position::Position;

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::counted(app, Method::PUT, "/v1/groups/{group}/read", mark)
            .does("mark_read", "Marks everything up to a position as read.")
            .takes::<Mark>()
            .answers::<Marked>(
                StatusCode::OK,
                "The mark that stands, and the counts above it.",
            ),
        Route::signed(app, Method::GET, "/v1/unread", unread)
            .does("count_unread", "Counts what is unread in one's groups.")
            .asks(&[])
            .answers::<Totals>(StatusCode::OK, "The counts and their sums."),
    ]
}

/// `{"pos":[3,1851]}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReadMark")]
struct Mark {
    pos: Position,
}

/// The mark that stands, and what is unread above it.
#[derive(Serialize, JsonSchema)]
struct Marked {
    pos: Position,
    unread: u64,
    mentions: u64,
}

async fn mark(app: App, call: Call, caller: Caller) -> Result<Response> {
    let group: GroupId = call.id("group")?;
    app.limits.read(call.asker(caller))?;
    let mark: Mark = call.json()?;
    let permit = app.access.permit::<Read>(caller, group).await?;
    let standing = app.reads.mark(&permit, mark.pos).await?;
    let count = app
        .counts
        .of(caller.user, &[group])
        .await?
        .pop()
        .unwrap_or_default();
    let (unread, mentions) = (count.unread, count.mentions);
    Ok(reply::json(
        StatusCode::OK,
        &Marked {
            pos: standing.pos,
            unread,
            mentions,
        },
    ))
}

/// One group's counts.
#[derive(Serialize, JsonSchema)]
struct Unread {
    unread: u64,
    mentions: u64,
}

/// All groups' counts, and their sums.
#[derive(Serialize, JsonSchema)]
struct Totals {
    unread: u64,
    mentions: u64,
    groups: BTreeMap<GroupId, Unread>,
}

async fn unread(app: App, call: Call, caller: Caller) -> Result<Response> {
    call.query(&[])?;
    let groups = app.directory.groups_of(caller.user).await?;
    let ids: Vec<GroupId> = groups.iter().map(|(group, _)| group.id).collect();
    let counts = app.counts.of(caller.user, &ids).await?;
    let (unread, mentions) = counts
        .iter()
        .fold((0, 0), |sum, c| (sum.0 + c.unread, sum.1 + c.mentions));
    let each = |(group, count): (GroupId, crate::store::counts::Count)| {
        (
            group,
            Unread {
                unread: count.unread,
                mentions: count.mentions,
            },
        )
    };
    let groups = ids.into_iter().zip(counts).map(each).collect();
    Ok(reply::json(
        StatusCode::OK,
        &Totals {
            unread,
            mentions,
            groups,
        },
    ))
}
