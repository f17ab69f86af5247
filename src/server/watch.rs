//! What operators see although no request shows it: the version and the bounds of this program,
//! errors that did not happen yet, and which stores answer. Only looks; nothing here decides
//! whether a request is served.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::parts::Base;
use crate::clock::every;
use crate::error::Busy;
use crate::protocol::code::{ErrorCode, close};
use crate::store::readiness::Readiness;
use crate::telemetry::show_zero;

/// How often the stores are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// Why a signal may be dropped.
const SIGNAL_DROPS: [&str; 9] = [
    "pace",
    "limit",
    "queue",
    "store",
    "lagged",
    "group_size",
    "budget",
    "held",
    "socket",
];

/// Shows what is known from the start, and begins to look at the stores.
pub(super) fn start(base: &Base<'_>) {
    let metrics = &base.metrics;
    let version = [env!("CARGO_PKG_VERSION")];
    metrics.build.with_label_values(&version).set(1);
    let connections = i64::try_from(base.config.http.connections_max).unwrap_or(i64::MAX);
    metrics.connections_max.set(connections);
    for code in ErrorCode::ALL {
        show_zero(&metrics.request_errors, code.name());
    }
    for reason in Busy::ALL {
        show_zero(&metrics.busy, reason.name());
    }
    for reason in SIGNAL_DROPS {
        show_zero(&metrics.signals_dropped, reason);
    }
    let closes = [
        close::REVOKED,
        close::SLOW_READER,
        close::REPLACED,
        close::RESTART,
    ];
    for code in closes {
        show_zero(&metrics.sockets_closed, &code.get().to_string());
    }
    show_zero(&metrics.requests, "101");
    show_zero(&metrics.logins, "right");
    show_zero(&metrics.logins, "wrong");
    let draining = base.tasks.draining().clone();
    let watch = watch(Arc::clone(&base.readiness), draining);
    base.tasks.spawn_vital("watch", watch);
}

async fn watch(readiness: Arc<Readiness>, stop: CancellationToken) {
    let mut tick = every(PERIOD);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        readiness.missing().await;
    }
}
