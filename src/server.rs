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

use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::ingress::auth::secret::{Secret, SecretError};
use crate::ingress::auth::setup::SetupCode;
use crate::ingress::{listen, rest, route};
use crate::lifecycle::{Stopped, Tasks};
use crate::store::StoreError;
use crate::store::directory::Directory;
use crate::telemetry::Metrics;

mod parts; // commands, consumers, the push path, put together
mod stores; // which backend keeps what

use parts::Base;

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

/// A running server.
pub struct Server {
    address: SocketAddr,
    admin_address: SocketAddr,
    setup: SetupCode,
    routes: Vec<route::Signature>,
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
    let stores = stores::open(config, tasks).await?;
    let setup = setup_code(address, &*stores.directory).await?;
    let base = Base {
        config,
        stores,
        clock,
        metrics,
        tasks,
    };
    let app = parts::compose(&base, &secret, setup.clone()).await?;
    let public = rest::public(&app);
    let routes = public.iter().map(|route| route.signature.clone()).collect();
    listen::serve(listener, route::all(&app, public), &config.http, tasks);
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
        routes,
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
