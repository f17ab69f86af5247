//! Counts what is refused, over REST and sockets alike.

use crate::error::Error;
use crate::telemetry::Metrics;

/// Counts a refusal by its code, and one that was put off by its reason.
pub(super) fn count(metrics: &Metrics, error: &Error) {
    let code = [error.code.name()];
    metrics.request_errors.with_label_values(&code).inc();
    if let Some(reason) = error.busy {
        metrics.busy.with_label_values(&[reason.name()]).inc();
    }
}
