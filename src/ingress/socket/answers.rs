//! Failures as frames, and the closes that follow them.

use bytes::Bytes;

use super::reader::ReadError;
use crate::egress::send_queue::{Pushed, SendQueue, Unsent};
use crate::egress::socket::{Socket, close_queue};
use crate::error::Error;
use crate::ingress::app::App;
use crate::ingress::refusals;
use crate::model::causes::causes;
use crate::model::id::GroupId;
use crate::model::trace::TraceId;
use crate::protocol::code::{ErrorCode, close};
use crate::protocol::server::{ErrorFrame, ServerFrame, WrongField};
use crate::protocol::websocket::close::{CloseCode, CloseReason};
use crate::protocol::websocket::encode::text_frame;

/// Tells a client why a frame failed.
pub(super) fn refuse(
    app: &App,
    socket: &Socket,
    id: Option<u64>,
    group: Option<GroupId>,
    error: &Error,
    trace: TraceId,
) {
    socket.send_raw(&refusal(app, id, group, error, trace));
}

/// Counts a failure, and makes the frame for it. A fault of ours is logged, once, under an id that
/// the message carries.
fn refusal(
    app: &App,
    id: Option<u64>,
    group: Option<GroupId>,
    error: &Error,
    trace: TraceId,
) -> Bytes {
    refusals::count(&app.metrics, error);
    let reference = (error.code == ErrorCode::Internal).then(|| {
        tracing::error!(id = %trace, cause = %causes(error), "a frame failed: {}", error.detail);
        trace.to_string()
    });
    error_frame(id, group, error, reference.as_deref())
}

/// The frame for a failure; `reference` is where the log says more.
fn error_frame(
    id: Option<u64>,
    group: Option<GroupId>,
    error: &Error,
    reference: Option<&str>,
) -> Bytes {
    let errors: Vec<WrongField<'_>> = error
        .fields
        .iter()
        .map(|wrong| WrongField {
            field: &wrong.field,
            detail: &wrong.detail,
        })
        .collect();
    let message = match reference {
        Some(reference) => format!("{} ({reference})", error.detail),
        None => error.detail.clone(),
    };
    let frame = ServerFrame::Error(ErrorFrame {
        id,
        group,
        code: error.code,
        message: &message,
        errors: &errors,
        retry_after_ms: error.retry_after_ms,
        valid_up_to: error.valid_up_to,
    });
    text_frame(&frame.encode())
}

/// Tells a client why it is not let in, and closes.
pub(super) fn turn_away(app: &App, queue: &SendQueue, error: &Error) {
    let trace = app.traces.entry("frame hello", None).trace();
    push_last(queue, &refusal(app, None, None, error, trace.id));
    let code = error.code.close_code().unwrap_or(close::RESTART);
    close_with(app, queue, code, error.code.name());
}

/// What follows a broken protocol: the error, then the close with its code.
pub(super) fn fail(app: &App, queue: &SendQueue, error: &ReadError) {
    let ReadError::Protocol(fault) = error else {
        return;
    };
    let detail = fault.to_string();
    let code = fault.close_code();
    let error_code = match code {
        code if Some(code) == ErrorCode::TooLarge.close_code() => ErrorCode::TooLarge,
        code if Some(code) == ErrorCode::Unsupported.close_code() => ErrorCode::Unsupported,
        _ => ErrorCode::BadRequest,
    };
    let error = Error::new(error_code, &*detail);
    refusals::count(&app.metrics, &error);
    push_last(queue, &error_frame(None, None, &error, None));
    close_with(app, queue, code, &detail);
}

/// Closes a connection that is no [`Socket`] yet, or of which only the wire is at hand.
pub(super) fn close_with(app: &App, queue: &SendQueue, code: CloseCode, reason: &str) {
    let why = CloseReason { code, reason };
    close_queue(queue, &app.metrics, why, Unsent::Deliver);
}

/// Sends a frame before a close. A socket that does not even take this is ended as it stands.
fn push_last(queue: &SendQueue, frame: &Bytes) {
    if queue.push(frame) == Pushed::Full {
        queue.abort();
    }
}
