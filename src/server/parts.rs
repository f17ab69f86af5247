//! Puts the parts together over the stores: the write path, the consumers, the push path, and
//! what handlers work with. Starts the tasks that run for as long as the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::StartError;
use super::stores::Stores;
use crate::access::Access;
use crate::access::sessions::Sessions;
use crate::clock::Clock;
use crate::config::Config;
use crate::egress::admission::Admission;
use crate::egress::attach::Attach;
use crate::egress::hearing::Hearing;
use crate::egress::heartbeat::Heartbeat;
use crate::egress::hints::Hints;
use crate::egress::hub::Hub;
use crate::egress::nudges::Nudges;
use crate::egress::overview::Overview;
use crate::egress::own_groups::OwnGroups;
use crate::egress::presence::{Keeper, Online};
use crate::egress::receipts::Receipts;
use crate::egress::recovery::Recovery;
use crate::egress::revocations::Revocations;
use crate::egress::tail::Pusher;
use crate::ingress::app::{App, Parts};
use crate::ingress::auth::Auth;
use crate::ingress::auth::rotation::Rotation;
use crate::ingress::auth::secret::Secrets;
use crate::ingress::auth::setup::SetupCode;
use crate::ingress::cursor::Cursors;
use crate::ingress::limit::Limits;
use crate::lifecycle::Tasks;
use crate::pipeline::append::Appender;
use crate::pipeline::commands::accounts::Accounts;
use crate::pipeline::commands::groups::Groups;
use crate::pipeline::commands::members::Members;
use crate::pipeline::commands::messages::Messages;
use crate::pipeline::commands::profiles::Profiles;
use crate::pipeline::commands::reads::Reads;
use crate::pipeline::consumers::Handler;
use crate::pipeline::consumers::persist::{self, Persist};
use crate::pipeline::consumers::unread::UnreadMarks;
use crate::pipeline::fences::Fences;
use crate::pipeline::mend::Mender;
use crate::pipeline::outbox::Outbox;
use crate::pipeline::policy::Policy;
use crate::pipeline::reopen::Reopener;
use crate::pipeline::restored::Restored;
use crate::pipeline::runner::Runner;
use crate::store::counts::Counts;
use crate::store::history::History;
use crate::store::readiness::Readiness;
use crate::telemetry::Metrics;
use crate::traces::Traces;

/// What everything stands on.
pub(super) struct Base<'a> {
    pub(super) config: &'a Config,
    pub(super) stores: Stores,
    pub(super) readiness: Arc<Readiness>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
    pub(super) tasks: &'a Tasks,
}

/// What both paths read by.
struct Reading {
    history: History,
    counts: Counts,
    overview: Overview,
    access: Access,
}

/// The write path.
struct Writing {
    appender: Arc<Appender>,
    fences: Arc<Fences>,
    reopener: Arc<Reopener>,
}

/// The push path.
struct Pushing {
    hub: Arc<Hub>,
    attach: Attach,
    receipts: Arc<Receipts>,
    revocations: Revocations,
    hints: Hints,
    online: Online,
}

/// All parts, running.
pub(super) async fn compose(
    base: &Base<'_>,
    secrets: &Secrets,
    secret_file: PathBuf,
    setup: SetupCode,
) -> Result<App, StartError> {
    let Base {
        config,
        stores,
        readiness,
        clock,
        metrics,
        traces,
        tasks,
    } = base;
    let reading = reading(base);
    let Writing {
        appender,
        fences,
        reopener,
    } = writing(base, &reading);
    let outbox = Outbox {
        directory: stores.directory.clone(),
        appender: appender.clone(),
        fences,
        cards: stores.cards.clone(),
        signals: stores.signals.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        traces: traces.clone(),
    };
    tasks.spawn_vital("outbox", outbox.clone().sweep(tasks.draining().clone()));
    let pushing = pushing(base, &reading).await?;
    let directory = stores.directory.clone();
    let sessions = pushing.hub.sessions().clone();
    let (auth, cursors) = signing(base, secrets, secret_file, setup, sessions).await?;
    let limits = Limits::new(&config.limits, config.exempt(), metrics);
    tasks.spawn_vital("limits", limits.clone().sweep(tasks.draining().clone()));
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
        Policy::default(),
        clock.clone(),
    );
    let reads = Reads::new(
        stores.unread.clone(),
        stores.signals.clone(),
        stores.cards.clone(),
        counts.clone(),
        reopener,
    );
    Ok(Arc::new(Parts {
        auth,
        limits,
        origins: config.http.origins.clone(),
        cursors,
        profiles: Profiles::new(stores.accounts.clone(), stores.cards.clone()),
        accounts: Accounts::new(
            stores.accounts.clone(),
            clock.clone(),
            config.auth.session_days,
        ),
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
        hints: pushing.hints,
        online: pushing.online,
        directory,
        roster: stores.roster.clone(),
        readiness: readiness.clone(),
        clock: clock.clone(),
        body_deadline: Duration::from_secs(config.http.body_s_max),
        metrics: metrics.clone(),
        traces: traces.clone(),
        tasks: (*tasks).clone(),
        revocations: pushing.revocations,
    }))
}

/// What signs, and follows the file of the secret.
async fn signing(
    base: &Base<'_>,
    secrets: &Secrets,
    secret_file: PathBuf,
    setup: SetupCode,
    sessions: Sessions,
) -> Result<(Auth, Cursors), StartError> {
    let (tasks, clock) = (base.tasks, base.clock.clone());
    let auth = Auth::new(&base.config.auth, secrets, setup, sessions, clock, tasks);
    let auth = auth.await?;
    let cursors = Cursors::new(secrets);
    let tags = vec![auth.refresh.tags(), cursors.tags()];
    let rotation = Rotation::new(secret_file, secrets.clone(), auth.tokens.clone(), tags);
    tasks.spawn_vital("secrets", rotation.run(tasks.draining().clone()));
    Ok((auth, cursors))
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

/// The appender with its fences, and the consumers behind it.
fn writing(base: &Base<'_>, reading: &Reading) -> Writing {
    let Stores {
        directory,
        log,
        epochs,
        messages,
        unread,
        cards,
        ..
    } = base.stores.clone();
    let history = reading.history.clone();
    let metrics = &base.metrics;
    let fences = Arc::new(Fences::new(epochs.clone(), log.clone(), metrics.clone()));
    let mender = Mender {
        log: log.clone(),
        messages: messages.clone(),
        epochs: epochs.clone(),
        history: history.clone(),
        unread,
        cards,
    };
    let reopener = Arc::new(Reopener::new(
        log.clone(),
        epochs,
        history.clone(),
        directory,
        fences.clone(),
        mender.clone(),
        base.tasks.clone(),
    ));
    let watch = Restored::new(mender, fences.clone(), reopener.clone());
    base.tasks
        .spawn_vital("restored", watch.watch(base.tasks.draining().clone()));
    consume(base, handlers(base, reading, &fences, &reopener));
    let appender = Appender::new(
        log,
        messages,
        history,
        fences.clone(),
        reopener.clone(),
        metrics.clone(),
        base.traces.clone(),
    );
    let appender = Arc::new(appender);
    let draining = base.tasks.draining().clone();
    base.tasks
        .spawn_vital("unsettled", appender.unsettled().sweep(draining));
    Writing {
        appender,
        fences,
        reopener,
    }
}

/// What is done with every event of the log.
fn handlers(
    base: &Base<'_>,
    reading: &Reading,
    fences: &Arc<Fences>,
    reopener: &Arc<Reopener>,
) -> [Arc<dyn Handler>; 2] {
    let stores = base.stores.clone();
    let into = persist::Stores {
        log: stores.log,
        messages: stores.messages,
        dead_letters: stores.dead_letters.clone(),
        epochs: stores.epochs,
        signals: stores.signals,
        history: reading.history.clone(),
        fences: fences.clone(),
        reopener: reopener.clone(),
    };
    let (clock, metrics, traces) = (&base.clock, &base.metrics, &base.traces);
    [
        Arc::new(Persist::new(
            into,
            clock.clone(),
            metrics.clone(),
            traces.clone(),
        )),
        Arc::new(UnreadMarks::new(
            stores.unread,
            stores.dead_letters,
            stores.cards,
            reading.counts.clone(),
            clock.clone(),
        )),
    ]
}

/// Starts the consumers. At a drain the last of them gives up the leases of this node, so that others
/// need not wait until they run out.
fn consume(base: &Base<'_>, handlers: [Arc<dyn Handler>; 2]) {
    let all_done = Arc::new(Barrier::new(handlers.len()));
    for handler in handlers {
        let name = handler.consumer().name();
        let (log, all_done) = (base.stores.consumers.clone(), all_done.clone());
        let runner = Runner::new(log.clone(), handler, base.metrics.clone());
        let draining = base.tasks.draining().clone();
        base.tasks.spawn_vital(name, async move {
            runner.run(draining).await;
            if all_done.wait().await.is_leader() {
                log.resign().await;
            }
        });
    }
}

async fn pushing(base: &Base<'_>, reading: &Reading) -> Result<Pushing, StartError> {
    let Stores {
        directory,
        accounts,
        cards,
        log,
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
        history.clone(),
        base.metrics.clone(),
        Sessions::default(),
    ));
    let revocations = Revocations {
        accounts,
        sessions: hub.sessions().clone(),
        hub: hub.clone(),
    };
    // Nobody is let in before the ends of sessions are known.
    revocations.look().await?;
    let watch = revocations.clone().run(draining.clone());
    tasks.spawn_vital("revocations", watch);
    let (hints, online) = passing(base, &hub);
    let recovery = Recovery::new(hub.clone(), history.clone());
    let admission = Admission::new(&hub.options, base.metrics.clone());
    let own_groups = OwnGroups::new(
        hub.clone(),
        directory.clone(),
        cards,
        counts.clone(),
        admission,
    );
    let attach = Attach::new(
        hub.clone(),
        recovery,
        directory.clone(),
        own_groups,
        overview.clone(),
    );
    let receipts = Arc::new(Receipts::new(
        hub.clone(),
        log.clone(),
        base.metrics.clone(),
    ));
    let pusher = Pusher::new(hub.clone(), history.clone(), base.clock.clone());
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
    Ok(Pushing {
        hub,
        attach,
        receipts,
        revocations,
        hints,
        online,
    })
}

/// What is told in passing: who types, comes and goes.
fn passing(base: &Base<'_>, hub: &Arc<Hub>) -> (Hints, Online) {
    let (tasks, draining) = (base.tasks, base.tasks.draining());
    let (directory, presence) = (&base.stores.directory, &base.stores.presence);
    let (hints, outgoing) = Hints::new(presence.clone(), base.metrics.clone());
    tasks.spawn_vital("hints out", outgoing.run(draining.clone()));
    let hearing = Hearing::new(hub.clone()).run(presence.hints(), draining.clone());
    tasks.spawn_vital("hints in", hearing);
    let keeper = Keeper::new(
        hub.clone(),
        presence.clone(),
        directory.clone(),
        hints.clone(),
    );
    tasks.spawn_vital("presence", keeper.run(draining.clone()));
    let online = Online::new(hub.clone(), presence.clone(), directory.clone());
    (hints, online)
}
