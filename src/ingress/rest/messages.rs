//! `/v1/groups/{group}/messages`: the timeline, and sending without a socket.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::access::{Caller, Read};
use crate::error::{Busy, Error, Result};
use crate::ingress::app::App;
use crate::ingress::call::Call;
use crate::ingress::openapi::parameter::Parameter;
use crate::ingress::reply;
use crate::ingress::route::Route;
use crate::ingress::timeline::{self, Bounds, Piece};
use crate::model::client_id::ClientId;
use crate::model::event::Event;
use crate::model::id::{GroupId, MessageId};
use crate::model::message::{Body, Mentions};
use crate::model::position::{Position, PositionText};
use crate::model::time::Time;
use crate::pipeline::append::Attempt;
use crate::pipeline::commands::messages::NewMessage;
use crate::protocol::client::{PULL_MAX, validate_message};
use crate::protocol::code::ErrorCode;
use crate::protocol::server::write_list;

/// Events on a page unless asked otherwise.
const PAGE: u32 = 50;

/// How long a send waits for `stored`.
const STORED_PATIENCE: Duration = Duration::from_secs(2);

/// What the query of the timeline may hold.
const QUERY: &[Parameter] = &[
    Parameter::one::<PositionText>("before", "Events below this one; not with `after`."),
    Parameter::one::<PositionText>("after", "Events above this one; `0-0` from the start."),
    Parameter::limit(PAGE, PULL_MAX),
];

/// The path of the timeline.
const LIST: &str = "/v1/groups/{group}/messages";

/// The routes of this resource.
pub fn routes(app: &App) -> Vec<Route> {
    vec![
        Route::counted(app, Method::GET, LIST, list)
            .does(
                "list_messages",
                "Reads a piece of a group's log, newest if unbounded.",
            )
            .asks(QUERY)
            .answers::<Timeline>(StatusCode::OK, "Events, ascending and dense.")
            .fails(&[ErrorCode::Conflict]),
        Route::counted(app, Method::POST, LIST, send)
            .does(
                "send_message",
                "Sends a message, once for each `client_id`.",
            )
            .takes::<NewBody>()
            .answers::<Sent>(StatusCode::CREATED, "It is stored.")
            .answers::<Sent>(StatusCode::ACCEPTED, "It is in the log and not stored yet.")
            .answers::<Sent>(StatusCode::OK, "It was sent before; nothing was written.")
            .fails(&[ErrorCode::Forbidden, ErrorCode::Conflict]),
    ]
}

async fn list(app: App, call: Call, caller: Caller) -> Result<Response> {
    app.limits.page(call.asker(caller))?;
    let group: GroupId = call.id("group")?;
    let query = call.query(QUERY)?;
    let limit = query.limit(PAGE, PULL_MAX)?;
    let position = |name| query.get(name).map(|text| parse(name, text)).transpose();
    let bounds = match (position("after")?, position("before")?) {
        (Some(_), Some(_)) => {
            return Err(Error::field("after", "give `after` or `before`, not both"));
        }
        (Some(after), None) => Bounds::After(after),
        (None, before) => Bounds::Before(before),
    };
    let permit = app.access.permit::<Read>(caller, group).await?;
    let piece = timeline::read(&app, &permit, bounds, limit).await?;
    let text = page(bounds, &piece)?;
    Ok(reply::with_text(StatusCode::OK, "application/json", text))
}

fn parse(name: &'static str, text: &str) -> Result<Position> {
    text.parse()
        .map_err(|error: crate::model::position::InvalidPosition| {
            Error::field(name, error.to_string())
        })
}

/// What stands beside the items of a page.
#[derive(Serialize, JsonSchema)]
struct Frame {
    /// The first and the last event of the page; null if it is empty.
    covers: Option<(Position, Position)>,
    head: Position,
    /// Everything valid up to here is durable.
    stored: Position,
    /// For `before`; null if nothing is below.
    #[schemars(with = "Option<PositionText>")]
    previous: Option<String>,
    /// For `after`; null if nothing is above.
    #[schemars(with = "Option<PositionText>")]
    next: Option<String>,
}

/// A piece of a group's log.
#[derive(JsonSchema)]
#[expect(
    dead_code,
    reason = "events are written as they were kept, without parsing them"
)]
struct Timeline {
    items: Vec<Event>,
    #[schemars(flatten)]
    frame: Frame,
}

fn page(bounds: Bounds, piece: &Piece) -> Result<Vec<u8>> {
    let first = piece.entries.first().map(|entry| entry.pos);
    let last = piece.entries.last().map(|entry| entry.pos);
    let upwards = matches!(bounds, Bounds::After(_));
    // Upwards there is more below unless the page began with the first event that may be seen,
    // and the other way round.
    let below = match bounds {
        Bounds::After(_) => first.is_some_and(|pos| pos.seq > piece.visible_after.seq + 1),
        Bounds::Before(_) => piece.more,
    };
    let above = if upwards {
        piece.more
    } else {
        last.is_some_and(|pos| pos < piece.head.pos)
    };
    let frame = Frame {
        covers: first.zip(last),
        head: piece.head.pos,
        stored: piece.head.stored,
        previous: first.filter(|_| below).map(|pos| pos.to_string()),
        next: last.filter(|_| above).map(|pos| pos.to_string()),
    };
    let mut text = br#"{"items":"#.to_vec();
    write_list(&mut text, &piece.entries);
    let rest = serde_json::to_vec(&frame).map_err(Error::internal)?;
    text.push(b',');
    text.extend_from_slice(rest.get(1..).unwrap_or_default());
    Ok(text)
}

/// `{"client_id":"…","body":{…},"reply_to":[3,1830],"mentions":["u_…"],"again":[3,1841]}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMessage")]
struct NewBody {
    client_id: ClientId,
    body: Body,
    /// The event that is answered.
    #[serde(default)]
    reply_to: Option<Position>,
    /// Who is mentioned; `"all"` is for admins and owners.
    #[serde(default)]
    mentions: Mentions,
    /// For a re-send: the head known at the first try.
    #[serde(default)]
    again: Option<Position>,
}

/// How far a send has come.
#[derive(Serialize, JsonSchema)]
struct Sent {
    id: Option<MessageId>,
    pos: Position,
    at: Time,
    receipt: Receipt,
}

/// Whether it is stored.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Receipt {
    /// In the log.
    Accepted,
    /// In the message store too.
    Stored,
}

async fn send(app: App, call: Call, caller: Caller) -> Result<Response> {
    let (group, trace): (GroupId, _) = (call.id("group")?, call.trace);
    let asker = call.asker(caller);
    app.limits.message(asker)?;
    let new: NewBody = call.json()?;
    validate_message(&new.body, &new.mentions)?;
    let permit = app.access.permit_send(caller, group).await?;
    app.limits.group_message(asker, group)?;
    let attempt = new
        .again
        .map_or(Attempt::Unknown, |from| Attempt::Again { from });
    let NewBody {
        client_id,
        body,
        reply_to,
        mentions,
        ..
    } = new;
    let message = NewMessage {
        client_id,
        body,
        reply_to,
        mentions,
    };
    let under_way = app.receipts.under_way(group);
    let sent = app.messages.send(permit, &message, attempt, trace).await?;
    let watermark = under_way.until_stored(&sent.receipt, STORED_PATIENCE).await;
    let stored = is_stored(&app, group, sent.receipt.pos, watermark).await?;
    let status = match (sent.is_new, stored) {
        (false, _) => StatusCode::OK,
        (true, true) => StatusCode::CREATED,
        (true, false) => StatusCode::ACCEPTED,
    };
    let receipt = match stored {
        true => Receipt::Stored,
        false => Receipt::Accepted,
    };
    let sent = sent.receipt;
    Ok(reply::json(
        status,
        &Sent {
            id: sent.message,
            pos: sent.pos,
            at: sent.at,
            receipt,
        },
    ))
}

/// Whether a message that stands at `pos` is stored as the watermark says, where it came so far; where
/// that cannot be seen now, it is not called so.
///
/// # Errors
/// `busy` if a later epoch cut it off.
async fn is_stored(
    app: &App,
    group: GroupId,
    pos: Position,
    watermark: Option<Position>,
) -> Result<bool> {
    let Some(watermark) = watermark else {
        return Ok(false);
    };
    match app.history.is_settled(group, pos, watermark).await {
        Ok(true) => Ok(true),
        Ok(false) => {
            let detail = "the log lost the message before it was stored; send it again";
            Err(Error::busy(Busy::Log, detail, 200))
        }
        Err(error) => {
            tracing::debug!(%error, "a message is called accepted");
            Ok(false)
        }
    }
}
