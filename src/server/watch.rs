//! What operators see although no request shows it: the version and the bounds of this program,
//! errors that did not happen yet, and which stores answer. Only looks; nothing here decides
//! whether a request is served.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::parts::Base;
use super::stores::Stores;
use crate::error::Busy;
use crate::model::id::Partition;
use crate::protocol::code::{ErrorCode, close};
use crate::telemetry::{Metrics, show_zero};

/// How often the stores are looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// How long a store may take to count as there; as long as for `/readyz`.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

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
    let watch = Watch {
        stores: base.stores.clone(),
        metrics: metrics.clone(),
    };
    let draining = base.tasks.draining().clone();
    base.tasks.spawn_vital("watch", watch.run(draining));
}

struct Watch {
    stores: Stores,
    metrics: Metrics,
}

impl Watch {
    async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.look().await;
        }
    }

    /// Asks each store something cheap that only a healthy one answers.
    async fn look(&self) {
        let partition = Partition(0);
        tokio::join!(
            self.ask("directory", self.stores.accounts.is_empty()),
            self.ask("log", self.stores.log.history(partition)),
            self.ask("messages", self.stores.epochs.fence(partition)),
        );
    }

    async fn ask<T, E>(&self, store: &str, answer: impl Future<Output = Result<T, E>>) {
        let asked = Instant::now();
        let answered = matches!(timeout(ANSWERS_WITHIN, answer).await, Ok(Ok(_)));
        let took = asked.elapsed().as_secs_f64();
        let store = [store];
        let Metrics {
            store_ready,
            store_probe_seconds,
            ..
        } = &self.metrics;
        store_ready.with_label_values(&store).set(answered.into());
        store_probe_seconds.with_label_values(&store).set(took);
    }
}
