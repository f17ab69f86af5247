//! Failures as frames.

use bytes::Bytes;

use crate::egress::socket::Socket;
use crate::error::Error;
use crate::ingress::app::App;
use crate::ingress::refusals;
use crate::model::causes::causes;
use crate::model::id::GroupId;
use crate::model::trace::TraceId;
use crate::protocol::code::ErrorCode;
use crate::protocol::server::{ErrorFrame, ServerFrame, WrongField};
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
pub(super) fn refusal(
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
pub(super) fn error_frame(
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
