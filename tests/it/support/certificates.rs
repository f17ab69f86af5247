//! Certificates for tests: an authority, servers' certificates that it signed, and clients that
//! trust it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::folder::Folder;

/// An authority, and the two files of a server in a folder that goes with it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: Folder,
}

impl Authority {
    /// A new authority; the files hold a first pair.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for its own issuer if both have one name.
        let name = "the authority of a test";
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self {
            issuer,
            folder: Folder::new(),
        };
        authority.renew();
        authority
    }

    /// Puts a new pair into the files; answers the certificate.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        self.renew_until(4096)
    }

    /// The same, good until this year begins.
    pub(crate) fn renew_until(&self, year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&certificate.pem(), &key.serialize_pem());
        certificate.der().clone()
    }

    /// What a Redis server is told so that it speaks TLS on this port, with the certificate of now.
    pub(crate) fn redis(&self, port: u16) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let settings = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", path(self.certificate())),
            ("--tls-key-file", path(self.key())),
            ("--tls-ca-cert-file", path(self.ca())),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let settings = settings.into_iter();
        settings
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }

    /// Puts any texts into the files, each whole at once.
    pub(crate) fn write(&self, certificate: &str, key: &str) {
        for (path, text) in [(self.certificate(), certificate), (self.key(), key)] {
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.file("server.key")
    }

    /// The authority's own certificate as a file.
    pub(crate) fn ca(&self) -> PathBuf {
        let path = self.file("ca.pem");
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.folder.file()).with_file_name(name)
    }

    /// A client that trusts the authority, and speaks these protocols.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = builder
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// Shakes hands with a server.
pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}
