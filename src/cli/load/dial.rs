//! Streams to a node: plain, or TLS that trusts the authorities of one file and no others.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::setup::Impossible;

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// Any stream to a node.
pub type Stream = Box<dyn Duplex>;

/// How TLS trusts: the authorities in this PEM file; without one nobody.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn trust(file: Option<&Path>) -> Result<ClientConfig, Impossible> {
    let roots = match file {
        Some(file) => roots(file)?,
        None => RootCertStore::empty(),
    };
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Impossible::Arguments(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots(file: &Path) -> Result<RootCertStore, Impossible> {
    let text = std::fs::read(file).map_err(|source| Impossible::File {
        path: file.display().to_string(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        let said = format!("{} holds no certificate in PEM", file.display());
        return Err(Impossible::Arguments(said));
    }
    Ok(roots)
}

/// Connects to `address`, over TLS if trust is given.
///
/// # Errors
/// The node is not there, or is not who it says.
pub async fn connect(address: &str, tls: Option<&Arc<ClientConfig>>) -> std::io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    Ok(Box::new(connector.connect(name, stream).await?))
}
