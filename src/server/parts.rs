//! Puts the parts together over the stores: the write path, the consumers, the push path, and
//! what handlers work with. Starts the tasks that run for as long as the server.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::StartError;
use super::stores::Stores;
use crate::access::Access;
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::attach::Attach;
use crate::egress::heartbeat::Heartbeat;
use crate::egress::hub::Hub;
use crate::egress::nudges::Nudges;
use crate::egress::overview::Overview;
use crate::egress::receipts::Receipts;
use crate::egress::recovery::Recovery;
use crate::egress::tail::Pusher;
use crate::ingress::app::{App, Parts};
use crate::ingress::auth::Auth;
use crate::ingress::auth::secret::Secret;
use crate::ingress::auth::setup::SetupCode;
use crate::ingress::cursor::Cursors;
use crate::ingress::limit::Limits;
use crate::lifecycle::Tasks;
use crate::pipeline::append::Appender;
use crate::pipeline::commands::accounts::Accounts;
use crate::pipeline::commands::groups::Groups;
use crate::pipeline::commands::members::Members;
use crate::pipeline::commands::messages::Messages;
use crate::pipeline::commands::reads::Reads;
use crate::pipeline::consumers::Handler;
use crate::pipeline::consumers::persist::{self, Persist};
use crate::pipeline::consumers::unread::UnreadTotals;
use crate::pipeline::fences::Fences;
use crate::pipeline::outbox::Outbox;
use crate::pipeline::reopen::Reopener;
use crate::pipeline::runner::Runner;
use crate::store::counts::Counts;
use crate::store::history::History;
use crate::telemetry::Metrics;

/// What everything stands on.
pub(super) struct Base<'a> {
    pub(super) config: &'a Config,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) tasks: &'a Tasks,
}

/// What both paths read by.
struct Reading {
    history: History,
    counts: Counts,
    overview: Overview,
    access: Access,
}

/// The push path.
struct Pushing {
    hub: Arc<Hub>,
    attach: Attach,
    receipts: Arc<Receipts>,
}

/// All parts, running.
pub(super) async fn compose(
    base: &Base<'_>,
    secret: &Secret,
    setup: SetupCode,
) -> Result<App, StartError> {
    let Base {
        config,
        stores,
        clock,
        metrics,
        tasks,
    } = base;
    let reading = reading(base);
    let appender = writing(base, &reading);
    let outbox = Outbox::new(
        stores.directory.clone(),
        appender.clone(),
        stores.signals.clone(),
        clock.clone(),
    );
    tasks.spawn_vital("outbox", outbox.clone().sweep(tasks.draining().clone()));
    let pushing = pushing(base, &reading);
    let directory = stores.directory.clone();
    let auth = Auth::new(
        &config.auth,
        secret,
        setup,
        directory.clone(),
        clock.clone(),
        tasks,
    );
    let Reading {
        history,
        counts,
        overview,
        access,
    } = reading;
    let groups = Groups::new(
        directory.clone(),
        outbox.clone(),
        access.clone(),
        clock.clone(),
    );
    let options = config.groups.clone();
    let members = Members::new(
        directory.clone(),
        outbox,
        access.clone(),
        clock.clone(),
        options,
    );
    let messages = Messages::new(
        access.clone(),
        appender,
        history.clone(),
        counts.clone(),
        clock.clone(),
    );
    let reads = Reads::new(
        stores.unread.clone(),
        stores.signals.clone(),
        counts.clone(),
    );
    Ok(Arc::new(Parts {
        auth: auth.await?,
        limits: Limits::new(&config.limits),
        origins: config.http.origins.clone(),
        cursors: Cursors::new(secret.derive("list cursor")),
        accounts: Accounts::new(directory.clone(), clock.clone(), config.auth.session_days),
        groups,
        members,
        messages,
        reads,
        overview,
        access,
        counts,
        history,
        hub: pushing.hub,
        attach: pushing.attach,
        receipts: pushing.receipts,
        directory,
        log: stores.log.clone(),
        clock: clock.clone(),
        body_deadline: Duration::from_secs(config.http.body_s_max),
        metrics: metrics.clone(),
        tasks: (*tasks).clone(),
    }))
}

fn reading(base: &Base<'_>) -> Reading {
    let Stores {
        directory,
        log,
        epochs,
        messages,
        unread,
        ..
    } = base.stores.clone();
    let history = History::new(log.clone(), messages.clone(), epochs);
    let counts = Counts::new(log.clone(), messages.clone(), unread, history.clone());
    let overview = Overview::new(directory.clone(), messages, counts.clone(), history.clone());
    let access = Access::new(directory, log, &base.config.access);
    Reading {
        history,
        counts,
        overview,
        access,
    }
}

/// The appender, and the consumers behind it.
fn writing(base: &Base<'_>, reading: &Reading) -> Arc<Appender> {
    let Stores {
        log,
        consumers,
        epochs,
        messages,
        unread,
        signals,
        ..
    } = base.stores.clone();
    let history = reading.history.clone();
    let metrics = &base.metrics;
    let fences = Arc::new(Fences::new(epochs.clone(), log.clone(), metrics.clone()));
    let reopener = Arc::new(Reopener::new(
        log.clone(),
        epochs.clone(),
        history.clone(),
        fences.clone(),
        metrics.clone(),
        base.tasks.clone(),
    ));
    let into = persist::Stores {
        log: log.clone(),
        messages: messages.clone(),
        epochs,
        signals: signals.clone(),
        history: history.clone(),
        fences: fences.clone(),
        reopener: reopener.clone(),
    };
    let handlers: [Arc<dyn Handler>; 2] = [
        Arc::new(Persist::new(into, base.clock.clone(), metrics.clone())),
        Arc::new(UnreadTotals::new(unread, messages.clone())),
    ];
    let all_done = Arc::new(Barrier::new(handlers.len()));
    for handler in handlers {
        let name = handler.consumer().name();
        let runner = Runner::new(consumers.clone(), handler, metrics.clone());
        let (log, all_done) = (consumers.clone(), all_done.clone());
        let draining = base.tasks.draining().clone();
        base.tasks.spawn_vital(name, async move {
            runner.run(draining).await;
            // Others need not wait until the leases run out.
            if all_done.wait().await.is_leader() {
                log.resign().await;
            }
        });
    }
    Arc::new(Appender::new(
        log,
        messages,
        history,
        fences,
        reopener,
        metrics.clone(),
    ))
}

fn pushing(base: &Base<'_>, reading: &Reading) -> Pushing {
    let Stores {
        directory,
        log,
        epochs,
        signals,
        ..
    } = base.stores.clone();
    let Reading {
        history,
        counts,
        overview,
        ..
    } = reading;
    let (tasks, options) = (base.tasks, base.config.egress.clone());
    let draining = tasks.draining();
    let hub = Arc::new(Hub::new(
        options,
        counts.clone(),
        epochs,
        base.metrics.clone(),
    ));
    let recovery = Recovery::new(hub.clone(), history.clone());
    let attach = Attach::new(
        hub.clone(),
        recovery,
        directory.clone(),
        counts.clone(),
        overview.clone(),
    );
    let receipts = Arc::new(Receipts::new(log.clone()));
    let pusher = Pusher::new(hub.clone(), history.clone());
    tasks.spawn_vital("tail", pusher.run(log, draining.clone()));
    tasks.spawn_vital("receipts", receipts.clone().sweep(draining.clone()));
    let told = receipts.clone().listen(signals.listen(), draining.clone());
    tasks.spawn_vital("stored", told);
    let heartbeat = Heartbeat {
        hub: hub.clone(),
        clock: base.clock.clone(),
    };
    tasks.spawn_vital("heartbeat", heartbeat.run(draining.clone()));
    let nudges = Nudges {
        hub: hub.clone(),
        attach: attach.clone(),
        directory,
    };
    tasks.spawn_vital("nudges", nudges.run(signals.listen(), draining.clone()));
    Pushing {
        hub,
        attach,
        receipts,
    }
}
