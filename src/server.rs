//! The composition root: builds every part from a configuration, in the order in which they need
//! each other, and is the only file that names a backend.
//!
//! In: a [`Config`] and a clock. Out: a running [`Server`] with its addresses. The program and
//! the tests start the same one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::access::Access;
use crate::clock::Clock;
use crate::config::{Backends, Config};
use crate::egress::overview::Overview;
use crate::error::Error;
use crate::ingress::app::{App, Parts};
use crate::ingress::auth::Auth;
use crate::ingress::auth::secret::{Secret, SecretError};
use crate::ingress::auth::setup::SetupCode;
use crate::ingress::cursor::Cursors;
use crate::ingress::limit::Limits;
use crate::ingress::{listen, rest, route};
use crate::lifecycle::{Stopped, Tasks};
use crate::pipeline::append::Appender;
use crate::pipeline::commands::accounts::Accounts;
use crate::pipeline::commands::groups::Groups;
use crate::pipeline::commands::members::Members;
use crate::pipeline::consumers::Handler;
use crate::pipeline::consumers::persist::{self, Persist};
use crate::pipeline::consumers::unread::UnreadTotals;
use crate::pipeline::fences::Fences;
use crate::pipeline::outbox::Outbox;
use crate::pipeline::reopen::Reopener;
use crate::pipeline::runner::Runner;
use crate::store::StoreError;
use crate::store::consumers::ConsumerLog;
use crate::store::counts::Counts;
use crate::store::directory::Directory;
use crate::store::embedded::directory::SqliteDirectory;
use crate::store::embedded::stores::EmbeddedStores;
use crate::store::epochs::Epochs;
use crate::store::history::History;
use crate::store::log::Log;
use crate::store::messages::Messages;
use crate::store::signals::Signals;
use crate::store::unread::Unread;
use crate::telemetry::Metrics;

/// The embedded stores' file in the data folder.
const DATABASE_FILE: &str = "qunliu.sqlite";

/// The secret's file in the data folder, unless the configuration names another.
const SECRET_FILE: &str = "secret.key";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The secret is refused.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A store is unusable or unsafe.
    #[error("a store cannot be used")]
    Store(#[from] StoreError),
    /// Something that cannot fail did.
    #[error("a fault of the server itself")]
    Fault(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

/// The stores of one server, whatever the backend.
struct Stores {
    directory: Arc<dyn Directory>,
    log: Arc<dyn Log>,
    consumers: Arc<dyn ConsumerLog>,
    epochs: Arc<dyn Epochs>,
    messages: Arc<dyn Messages>,
    unread: Arc<dyn Unread>,
    signals: Arc<dyn Signals>,
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    admin_address: SocketAddr,
    setup: SetupCode,
    tasks: Tasks,
}

impl Server {
    /// Starts a server; when this returns it takes calls.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let started = start(&config, clock, &tasks).await;
        if started.is_err() {
            tasks.stop(Duration::ZERO, std::future::pending()).await;
        }
        started
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// What the first account must prove; to be shown once to the one who started the server.
    pub fn setup_code(&self) -> Option<&str> {
        self.setup.text()
    }

    /// Waits until a part ended without which the server is not whole.
    pub async fn failed(&self) {
        self.tasks.failed().cancelled().await;
    }

    /// Stops: takes no new calls, finishes what is under way until `deadline` or until `hurry`
    /// resolves, then ends the rest.
    pub async fn stop(self, deadline: Duration, hurry: impl Future<Output = ()>) -> Stopped {
        self.tasks.stop(deadline, hurry).await
    }
}

/// Listeners first, so that a taken address is told before anything is opened.
async fn start(
    config: &Config,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Server, StartError> {
    let listener = bind(config.server.listen).await?;
    let admin = bind(config.server.admin_listen).await?;
    let address = local(&listener, config.server.listen)?;
    let admin_address = local(&admin, config.server.admin_listen)?;
    make_folder(&config.server.data)?;
    let secret = Secret::open(&secret_path(config))?;
    let metrics = Metrics::new().map_err(|error| StartError::Fault(error.into()))?;
    let stores = open(config, tasks).await?;
    let setup = setup_code(address, &*stores.directory).await?;
    let directory = stores.directory.clone();
    let auth = Auth::new(
        &config.auth,
        &secret,
        setup.clone(),
        directory,
        clock.clone(),
        tasks,
    );
    let auth = auth.await?;
    let core = Core::new(config, &stores, &clock, &metrics);
    run(&core, &stores, &clock, &metrics, tasks);
    let app = app(
        config,
        &secret,
        auth,
        (core, stores),
        clock,
        (metrics, tasks.clone()),
    );
    let public = route::all(&app, rest::public(&app));
    listen::serve(listener, public, &config.http, tasks);
    listen::serve(
        admin,
        route::all(&app, rest::admin(&app)),
        &config.http,
        tasks,
    );
    Ok(Server {
        address,
        admin_address,
        setup,
        tasks: tasks.clone(),
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| StartError::Bind { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|source| StartError::Bind { address, source })
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| StartError::Data {
        path: path.to_owned(),
        source,
    })
}

fn secret_path(config: &Config) -> PathBuf {
    match config.auth.secret_file.as_str() {
        "" => config.server.data.join(SECRET_FILE),
        path => PathBuf::from(path),
    }
}

/// Whoever reaches a fresh server first would own it; beyond loopback that must be proven.
async fn setup_code(
    address: SocketAddr,
    directory: &dyn Directory,
) -> Result<SetupCode, StartError> {
    if address.ip().is_loopback() || !directory.is_empty().await? {
        return Ok(SetupCode::NONE);
    }
    Ok(SetupCode::generate()?)
}

async fn open(config: &Config, tasks: &Tasks) -> Result<Stores, StartError> {
    match config.stores.backends() {
        Some(Backends::Embedded) => embedded(&config.server.data, tasks).await,
        Some(Backends::Services) | None => {
            Err(StartError::Fault("these stores are not built in".into()))
        }
    }
}

async fn embedded(data: &Path, tasks: &Tasks) -> Result<Stores, StartError> {
    let stores = EmbeddedStores::open(&data.join(DATABASE_FILE), tasks).await?;
    Ok(Stores {
        directory: Arc::new(SqliteDirectory::new(stores.database)),
        log: stores.log,
        consumers: stores.consumers,
        epochs: stores.epochs,
        messages: stores.messages,
        unread: stores.unread,
        signals: stores.signals,
    })
}

/// What reads and commands alike stand on.
struct Core {
    history: History,
    counts: Counts,
    access: Access,
    fences: Arc<Fences>,
    outbox: Outbox,
}

impl Core {
    fn new(config: &Config, stores: &Stores, clock: &Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let Stores {
            log,
            epochs,
            messages,
            unread,
            directory,
            ..
        } = stores;
        let history = History::new(log.clone(), messages.clone(), epochs.clone());
        let counts = Counts::new(
            log.clone(),
            messages.clone(),
            unread.clone(),
            history.clone(),
        );
        let fences = Arc::new(Fences::new(epochs.clone(), log.clone(), metrics.clone()));
        let reopener = Arc::new(Reopener::new(
            log.clone(),
            epochs.clone(),
            history.clone(),
            fences.clone(),
            metrics.clone(),
        ));
        let appender = Arc::new(Appender::new(
            log.clone(),
            messages.clone(),
            history.clone(),
            fences.clone(),
            reopener,
            metrics.clone(),
        ));
        Self {
            history,
            counts,
            access: Access::new(directory.clone(), log.clone(), &config.access),
            fences,
            outbox: Outbox::new(directory.clone(), appender, clock.clone()),
        }
    }
}

/// Starts what works without being asked: the outbox' sweeper and the consumers of the logs.
fn run(core: &Core, stores: &Stores, clock: &Arc<dyn Clock>, metrics: &Metrics, tasks: &Tasks) {
    let persist = persist::Stores {
        log: stores.log.clone(),
        messages: stores.messages.clone(),
        epochs: stores.epochs.clone(),
        signals: stores.signals.clone(),
        history: core.history.clone(),
        fences: core.fences.clone(),
    };
    let (unread, messages) = (stores.unread.clone(), stores.messages.clone());
    let consumers: [Arc<dyn Handler>; 2] = [
        Arc::new(Persist::new(persist, clock.clone(), metrics.clone())),
        Arc::new(UnreadTotals::new(unread, messages, stores.signals.clone())),
    ];
    for consumer in consumers {
        let name = consumer.consumer().name();
        let runner = Runner::new(stores.consumers.clone(), consumer, metrics.clone());
        tasks.spawn_vital(name, runner.run(tasks.draining().clone()));
    }
    tasks.spawn_vital(
        "outbox",
        core.outbox.clone().sweep(tasks.draining().clone()),
    );
}

/// What the routes work with.
fn app(
    config: &Config,
    secret: &Secret,
    auth: Auth,
    (core, stores): (Core, Stores),
    clock: Arc<dyn Clock>,
    (metrics, tasks): (Metrics, Tasks),
) -> App {
    let Core {
        history,
        counts,
        access,
        outbox,
        ..
    } = core;
    let Stores {
        directory,
        log,
        messages,
        ..
    } = stores;
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
    Arc::new(Parts {
        auth,
        limits: Limits::new(&config.limits),
        cursors: Cursors::new(secret.derive("list cursor")),
        accounts: Accounts::new(directory.clone(), clock, config.auth.session_days),
        groups,
        members,
        overview: Overview::new(directory.clone(), messages, counts.clone(), history),
        access,
        counts,
        directory,
        log,
        body_deadline: Duration::from_secs(config.http.body_s_max),
        metrics,
        tasks,
    })
}
