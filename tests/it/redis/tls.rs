//! Redis is spoken to over TLS, and only if its certificate is trusted.

use qunliu::lifecycle::Tasks;
use qunliu::store::redis::options::Options;
use qunliu::store::redis::stores::RedisStores;

use crate::support::certificates::Authority;
use crate::support::logs::{new_group, user};
use crate::support::redis::{RedisServer, SAFE, USER_AND_PASSWORD, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_whose_certificate_is_trusted_is_used() {
    let authority = Authority::new();
    let file = |path: std::path::PathBuf| path.display().to_string();
    let (port, ca) = (free_port(), file(authority.ca()));
    let (certificate, key) = (file(authority.certificate()), file(authority.key()));
    let tls = [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", certificate),
        ("--tls-key-file", key),
        ("--tls-ca-cert-file", ca.clone()),
        ("--tls-auth-clients", "no".to_owned()),
    ];
    let tls = tls.iter().flat_map(|(name, value)| [*name, value]);
    let settings: Vec<&str> = SAFE.iter().copied().chain(tls).collect();
    let Some(_server) = RedisServer::start_with(&settings).await else {
        return;
    };
    let url = format!("rediss://{USER_AND_PASSWORD}@127.0.0.1:{port}/");
    let connect = async |tls_ca: String| {
        let options = Options {
            tls_ca,
            ..Options::default()
        };
        RedisStores::connect(&url, &options, &Tasks::default()).await
    };
    let stranger = Authority::new();
    for untrusted in [String::new(), file(stranger.ca())] {
        assert!(connect(untrusted).await.is_err());
    }
    let stores = connect(ca).await.unwrap();
    new_group(&stores.log).await.say(user(), "1").await;
}
