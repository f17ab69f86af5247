//! Makes connections: RESP3, with explicit time-outs (the driver's own is 500 ms).

use std::sync::Arc;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ProtocolVersion, RedisError,
    RedisResult, TlsCertificates, cmd,
};

use super::link::DRIVER_QUEUE;
use super::sentinel::Sentinels;
use super::slots::Place;
use crate::store::redis::info::{info_field, info_text};
use crate::store::redis::options::Options;

/// Where to connect, and how long to wait.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    target: Target,
    config: AsyncConnectionConfig,
}

#[derive(Debug, Clone)]
enum Target {
    Server(Arc<Client>),
    /// Whoever is the master when it is dialled.
    Master(Arc<Sentinels>),
}

impl Dial {
    /// A dial for this server.
    pub(super) fn server(server: ConnectionInfo, options: &Options) -> RedisResult<Self> {
        let server = set_up(server, trust(&options.tls_ca)?.as_ref())?;
        Ok(Self {
            target: Target::Server(Arc::new(Client::open(server)?)),
            config: config(options),
        })
    }

    /// A dial for whoever the sentinels call the master of this name.
    pub(super) fn master(
        sentinels: Vec<ConnectionInfo>,
        name: String,
        master: ConnectionInfo,
        options: &Options,
    ) -> RedisResult<Self> {
        let trust = trust(&options.tls_ca)?;
        let set_up = |info| set_up(info, trust.as_ref());
        let sentinels: RedisResult<_> = sentinels.into_iter().map(set_up).collect();
        let asked = config(options).set_response_timeout(Some(options.connect_timeout()));
        let sentinels = Sentinels::new(sentinels?, name, set_up(master)?, asked)?;
        Ok(Self {
            target: Target::Master(Arc::new(sentinels)),
            config: config(options),
        })
    }

    /// A dial like this one for the server at another place.
    pub(super) fn to(&self, place: &Place) -> RedisResult<Self> {
        let Target::Server(like) = &self.target else {
            return Ok(self.clone());
        };
        let there = at(like.get_connection_info().clone(), place.clone());
        Ok(Self {
            target: Target::Server(Arc::new(Client::open(there)?)),
            config: self.config.clone(),
        })
    }

    /// Where it leads; nowhere in particular if sentinels are to say.
    pub(super) fn place(&self) -> Place {
        match &self.target {
            Target::Server(client) => place(client.get_connection_info()),
            Target::Master(_) => Place::default(),
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.connect_as(&self.config).await
    }

    /// A new connection whose pushes go to `ear`, its end included.
    pub(crate) async fn connect_with(
        &self,
        ear: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        self.connect_as(&self.config.clone().set_push_sender(ear))
            .await
    }

    async fn connect_as(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        match &self.target {
            Target::Server(client) => {
                client
                    .get_multiplexed_async_connection_with_config(config)
                    .await
            }
            Target::Master(sentinels) => {
                let client = sentinels.master().await?;
                let connection = client.get_multiplexed_async_connection_with_config(config);
                ensure_master(connection.await?).await
            }
        }
    }
}

fn config(options: &Options) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout()))
        .set_response_timeout(Some(options.response_timeout()))
        .set_pipeline_buffer_size(DRIVER_QUEUE)
}

fn place(info: &ConnectionInfo) -> Place {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            (host.clone(), *port)
        }
        _ => Place::default(),
    }
}

/// Like `info`, at another place.
pub(super) fn at(info: ConnectionInfo, (host, port): Place) -> ConnectionInfo {
    let address = match info.addr().clone() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure,
            tls_params,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.set_addr(address)
}

/// The authorities to trust instead of the system's.
fn trust(file: &str) -> RedisResult<Option<TlsCertificates>> {
    if file.is_empty() {
        return Ok(None);
    }
    let read = std::fs::read(file);
    let root_cert = read.map_err(|error| std::io::Error::other(format!("{file}: {error}")))?;
    Ok(Some(TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    }))
}

fn set_up(info: ConnectionInfo, trust: Option<&TlsCertificates>) -> RedisResult<ConnectionInfo> {
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3)
        // Redis has CLIENT SETINFO since 7.2 only, and users may be denied it.
        .set_skip_set_lib_name();
    let info = info.set_redis_settings(settings);
    match (info.addr(), trust) {
        (ConnectionAddr::TcpTls { .. }, Some(trust)) => {
            let client = Client::build_with_tls(info, trust.clone())?;
            Ok(client.get_connection_info().clone())
        }
        _ => Ok(info),
    }
}

/// Sentinels tell what they know, which may be late: only the server itself knows what it is.
async fn ensure_master(
    mut connection: MultiplexedConnection,
) -> RedisResult<MultiplexedConnection> {
    let info = connection
        .send_packed_command(cmd("INFO").arg("replication"))
        .await?
        .extract_error()?;
    let info = info_text(&info).unwrap_or_default();
    match info_field(&info, "role") {
        Some("master") => Ok(connection),
        _ => Err(no_master()),
    }
}

fn no_master() -> RedisError {
    std::io::Error::other("what sentinels call the master is none yet").into()
}
