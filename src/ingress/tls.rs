//! TLS on the clients' listener: the certificate and its key, and a new pair without a restart.
//!
//! Two PEM files flow in, the configuration of the next handshake flows out. The files are read
//! again every few seconds, because whoever renews a certificate just puts new files there. A
//! pair that cannot be used is told once and changes nothing; connections that are open keep
//! what they began with. TLS 1.2 and 1.3, HTTP/1.1 alone, no early data, which could be replayed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::model::time::Time;
use crate::telemetry::{Metrics, show_zero};

/// How often the files are read again.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is spoken over TLS; HTTP/2 is not, and a client that speaks nothing else is refused.
const ALPN: &[u8] = b"http/1.1";

/// Tickets for a client to come back with, in TLS 1.3: one for its next connection.
const TICKETS: usize = 1;

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it must be.
    #[error("{} holds no {wanted} in PEM", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        wanted: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The certificate and the key do not fit each other, or cannot be used.
    #[error("the certificate and its key cannot be used")]
    Refused(#[from] rustls::Error),
}

/// What the next handshake goes by.
pub type Current = watch::Receiver<Arc<ServerConfig>>;

/// A pair of files, and what was last made of them.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    held: Pair,
    current: watch::Sender<Arc<ServerConfig>>,
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The contents of the two files.
#[derive(Debug, PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// Reads a chain of certificates, the server's own first, and its key.
    ///
    /// # Errors
    /// A file cannot be read or used, or they do not belong together.
    pub async fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let held = files.read().await?;
        let current = watch::Sender::new(files.configure(&held)?);
        Ok(Self {
            files,
            held,
            current,
        })
    }

    /// What handshakes go by, now and after each change.
    pub fn current(&self) -> Current {
        self.current.subscribe()
    }

    /// The last moment at which the server's own certificate is good, if it can be read.
    pub fn good_until(&self) -> Option<Time> {
        let own = CertificateDer::from_pem_slice(&self.held.certificate).ok()?;
        let (_, own) = x509_parser::parse_x509_certificate(&own).ok()?;
        let seconds = own.validity().not_after.timestamp();
        Some(Time::from_millis(seconds.saturating_mul(1000)))
    }

    /// Looks for a new pair until `stop`.
    pub async fn watch(mut self, metrics: Metrics, stop: CancellationToken) {
        show_zero(&metrics.certificates, "taken");
        show_zero(&metrics.certificates, "refused");
        let mut every = tokio::time::interval(LOOK_EVERY);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            match self.files.read().await {
                Ok(pair) if pair != self.held => {
                    let result = if self.take(pair) { "taken" } else { "refused" };
                    metrics.certificates.with_label_values(&[result]).inc();
                }
                Ok(_) => {}
                // Between two renames a file may be missing; the next look finds it.
                Err(error) => {
                    let error: &dyn Error = &error;
                    tracing::warn!(error, "the certificate could not be looked at");
                }
            }
        }
    }

    /// Goes by a new pair from now on, if it can be used.
    fn take(&mut self, pair: Pair) -> bool {
        let configured = self.files.configure(&pair);
        let is_taken = configured.is_ok();
        match configured {
            Ok(config) => {
                tracing::info!("a new certificate is in use");
                self.current.send_replace(config);
            }
            Err(error) => {
                let error: &dyn Error = &error;
                tracing::error!(error, "the old certificate stays in use");
            }
        }
        // A pair that is no good is told once, not at every look.
        self.held = pair;
        is_taken
    }
}

impl Files {
    async fn read(&self) -> Result<Pair, TlsError> {
        Ok(Pair {
            certificate: read(&self.certificate).await?,
            key: read(&self.key).await?,
        })
    }

    fn configure(&self, pair: &Pair) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&pair.certificate).collect::<Result<_, _>>();
        let chain = chain.and_then(|chain: Vec<_>| match chain.is_empty() {
            true => Err(pem::Error::NoItemsFound),
            false => Ok(chain),
        });
        let chain = chain.map_err(malformed(&self.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&pair.key);
        let key = key.map_err(malformed(&self.key, "private key"))?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = TICKETS;
        Ok(Arc::new(config))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let text = tokio::fs::read(path).await;
    text.map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, wanted: &'static str) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Malformed {
        path,
        wanted,
        source,
    }
}
