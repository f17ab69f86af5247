//! The HTTP client of tests.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A client that trusts nobody's certificate: for plain text.
pub(crate) fn client() -> reqwest::Client {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let trust = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    client_over(trust)
}

/// A client that trusts these certificates.
pub(crate) fn client_over(trust: ClientConfig) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(30));
    builder.tls_backend_preconfigured(trust).build().unwrap()
}
