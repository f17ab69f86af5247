//! The composition root: builds every part from a configuration, in the order in which they need
//! each other, and with its `stores` the only place that names a backend.
//!
//! In: a [`Config`] and a clock. Out: a running [`Server`] with its addresses. The program and
//! the tests start the same one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::ingress::auth::secret::{SecretError, Secrets};
use crate::ingress::auth::setup::SetupCode;
use crate::ingress::listen::{self, Entrance};
use crate::ingress::tls::{Certificate, Current, TlsError};
use crate::ingress::{rest, route};
use crate::lifecycle::{Stopped, Tasks};
use crate::pipeline::replay::Replay;
use crate::store::StoreError;
use crate::store::accounts::Accounts;
use crate::store::finding::Finding;
use crate::store::readiness::Readiness;
use crate::telemetry::Metrics;
use crate::traces::Traces;
use crate::traces::export::ExportError;

mod parts; // commands, consumers, the push path, put together
mod stores; // which backend keeps what
mod watch; // what operators see of the stores and of this program

use parts::Base;
use stores::Stores;

/// The secret's file in the data folder, unless the configuration names another.
const SECRET_FILE: &str = "secret.key";

/// How often an operator is reminded that the server is not safe as it is set.
const REMINDED_EVERY: Duration = Duration::from_secs(60);

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
    /// The data folder cannot be made, or the data is not there.
    #[error("cannot use the data in {}", path.display())]
    Data {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The secret is refused.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificate for clients is refused.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// Traces cannot be exported as it is set.
    #[error(transparent)]
    Traces(#[from] ExportError),
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

/// A running server.
pub struct Server {
    address: SocketAddr,
    admin_address: SocketAddr,
    is_tls: bool,
    setup: SetupCode,
    routes: Vec<route::Signature>,
    tasks: Tasks,
    stores: Stores,
}

impl Server {
    /// Starts a server; when this returns it takes calls.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let tasks = Tasks::default();
        let started = Box::pin(start(&config, clock, &tasks)).await;
        if started.is_err() {
            tasks.stop(Duration::ZERO, std::future::pending()).await;
        }
        started
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients put before the address.
    pub const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// Where operators look.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// What the first account must prove; to be shown once to the one who started the server.
    pub fn setup_code(&self) -> Option<&str> {
        self.setup.text()
    }

    /// What clients may call, for whoever must know all of it.
    pub fn routes(&self) -> &[route::Signature] {
        &self.routes
    }

    /// Waits until a part ended without which the server is not whole.
    pub async fn failed(&self) {
        self.tasks.failed().cancelled().await;
    }

    /// Stops: takes no new calls, finishes what is under way until `deadline` or until `hurry`
    /// resolves, then ends the rest.
    pub async fn stop(self, deadline: Duration, hurry: impl Future<Output = ()>) -> Stopped {
        let stopped = self.tasks.stop(deadline, hurry).await;
        self.stores.close().await;
        stopped
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
    let metrics = Metrics::new().map_err(|error| StartError::Fault(error.into()))?;
    let (traces, exporting) = Traces::new(&config.tracing, clock.clone(), &metrics)?;
    if let Some(exporting) = exporting {
        tasks.spawn_vital("traces", exporting.run(tasks.draining().clone()));
    }
    let tls = certificate(config, &metrics, tasks).await?;
    let is_tls = tls.is_some();
    make_folder(&config.server.data)?;
    let secret_file = secret_path(config);
    let secrets = Secrets::open(&secret_file)?;
    let stores = stores::open(config, &metrics, tasks).await?;
    let setup = setup_code(config, &*stores.accounts).await?;
    let readiness = Readiness::new(
        stores.accounts.clone(),
        stores.log.clone(),
        stores.epochs.clone(),
        metrics.clone(),
    );
    let base = Base {
        config,
        stores: stores.clone(),
        readiness: Arc::new(readiness),
        clock,
        traces,
        metrics,
        tasks,
    };
    watch::start(&base);
    let app = parts::compose(&base, &secrets, secret_file, setup.clone()).await?;
    let public = rest::public(&app);
    let routes = public.iter().map(|route| route.signature.clone()).collect();
    let entrance = |listener, tls| Entrance {
        listener,
        tls,
        proxies: Arc::new(config.proxies()),
    };
    let clients = entrance(listener, tls);
    listen::serve(clients, route::all(&app, public), &config.http, tasks);
    let operators = route::all(&app, rest::admin(&app));
    listen::serve(entrance(admin, None), operators, &config.http, tasks);
    Ok(Server {
        address,
        admin_address,
        is_tls,
        setup,
        routes,
        tasks: tasks.clone(),
        stores,
    })
}

/// The accounts of a configuration's stores, without a server.
///
/// # Errors
/// The store cannot be used.
pub async fn open_accounts(config: &Config) -> Result<Arc<dyn Accounts>, StartError> {
    stores::open_accounts(config).await
}

/// Does `work` with what replays the dead letters of a configuration's stores, without a server.
///
/// # Errors
/// The store cannot be used.
pub async fn with_replay<T>(
    config: &Config,
    work: impl AsyncFnOnce(Replay) -> T,
) -> Result<T, StartError> {
    stores::with_replay(config, work).await
}

/// Looks at the stores of a configuration, without a server; changes nothing there.
pub async fn examine_stores(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    Box::pin(stores::examine(config, clock)).await
}

/// The certificate for clients, if there is to be one, and a task that looks for a newer one. Who
/// serves without it on purpose is reminded.
async fn certificate(
    config: &Config,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Option<Current>, StartError> {
    let stop = tasks.draining().clone();
    if config.is_exposed() {
        tasks.spawn_vital("reminder", remind_of_plain_text(stop));
        return Ok(None);
    }
    let (file, key) = (&config.http.tls_cert, &config.http.tls_key);
    if file.is_empty() {
        return Ok(None);
    }
    let certificate = Certificate::open(Path::new(file), Path::new(key)).await?;
    let current = certificate.current();
    tasks.spawn_vital("certificate", certificate.watch(metrics.clone(), stop));
    Ok(Some(current))
}

async fn remind_of_plain_text(stop: CancellationToken) {
    let mut every = tokio::time::interval(REMINDED_EVERY);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        tracing::warn!("http.insecure: passwords and messages cross the network in plain text");
    }
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

/// The secret file of a configuration.
pub fn secret_path(config: &Config) -> PathBuf {
    match config.auth.secret_file.as_str() {
        "" => config.server.data.join(SECRET_FILE),
        path => PathBuf::from(path),
    }
}

/// Whoever reaches a fresh server first would own it; where strangers may, that must be proven.
async fn setup_code(config: &Config, accounts: &dyn Accounts) -> Result<SetupCode, StartError> {
    if !config.is_public() || !accounts.is_empty().await? {
        return Ok(SetupCode::NONE);
    }
    Ok(SetupCode::generate()?)
}
