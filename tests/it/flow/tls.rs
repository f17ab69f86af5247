//! TLS on the clients' listener: REST and sockets over it, what is refused, and a new certificate
//! without a restart.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::support::certificates::{Authority, connect};
use crate::support::eventually;
use crate::support::server::{Client, PASSWORD, Person, TestServer};
use crate::support::socket::{DEADLINE, SUBPROTOCOL, Socket, assert_dense, hello, seqs, text};

/// A server with a certificate, and two people on it.
struct Sealed {
    server: TestServer,
    authority: Authority,
}

impl Sealed {
    async fn start(keys: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let (certificate, key) = (authority.certificate(), authority.key());
        let mut all = vec![
            ("QUNLIU_HTTP_TLS_CERT", certificate.to_str().unwrap()),
            ("QUNLIU_HTTP_TLS_KEY", key.to_str().unwrap()),
        ];
        all.extend_from_slice(keys);
        Self {
            server: TestServer::start_with(&all).await,
            authority,
        }
    }

    fn trust(&self) -> ClientConfig {
        self.authority.client(&[&TLS13, &TLS12], &["http/1.1"])
    }

    fn client(&self) -> Client {
        self.server.anyone().over_tls(self.trust())
    }

    async fn register(&self, name: &str) -> Person {
        let body = json!({"name": name, "password": PASSWORD, "display_name": name});
        let client = self.client();
        let granted = client.post("/v1/auth/register", &body).await.created();
        let mut person = Person::of(self.server.address, &granted);
        person.client = client.with_token(&person.access_token);
        person
    }

    async fn open_with(&self, config: ClientConfig) -> Socket {
        let stream = connect(self.server.address, config).await.unwrap();
        let opened = Socket::open_over(Box::new(stream), self.server.address, &[SUBPROTOCOL]);
        opened.await.unwrap()
    }

    async fn greeted(&self, person: &Person, device: &str) -> Socket {
        let open = async || self.open_with(self.trust()).await;
        let mut socket = Socket::hello_over(open, &hello(person, device, &json!({}))).await;
        socket.wait("welcome").await;
        socket
    }
}

/// Two people with a socket each, and the id of a group of both.
async fn talking(sealed: &Sealed) -> (Person, Socket, Socket, String) {
    let owner = sealed.register("li.lei").await;
    let member = sealed.register("han.meimei").await;
    let path = owner.found("老街面馆 1 群", &[&member]).await;
    let group = path.rsplit('/').next().unwrap().to_owned();
    let speaker = sealed.greeted(&owner, "web-1").await;
    let listener = sealed.greeted(&member, "web-2").await;
    (owner, speaker, listener, group)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_talk_over_rest_and_sockets() {
    let sealed = Sealed::start(&[]).await;
    let (owner, mut speaker, mut listener, group) = talking(&sealed).await;
    let me = owner.client.get("/v1/me").await;
    me.ok();
    assert_eq!(me.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(speaker.ask(&text(&group, "在吗")).await["type"], "accepted");
    speaker.wait("stored").await;
    assert_dense(&seqs(&listener.events(&group, 1).await), 3);
    speaker.say_text("{}").await;
    assert_eq!(speaker.wait("error").await["code"], "bad_request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_tls_are_spoken() {
    let sealed = Sealed::start(&[]).await;
    let owner = sealed.register("li.lei").await;
    for version in [&TLS12, &TLS13] {
        for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
            let config = sealed.authority.client(&[version], alpn);
            let open = async || sealed.open_with(config.clone()).await;
            let hello = hello(&owner, "web-1", &json!({}));
            let mut socket = Socket::hello_over(open, &hello).await;
            socket.wait("welcome").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_kernel_holds_arrives_whole_and_in_order() {
    let sealed = Sealed::start(&[]).await;
    let (_, mut speaker, mut listener, group) = talking(&sealed).await;
    let long = "😀".repeat(20_000);
    for _ in 0..12 {
        speaker.ask_later(&text(&group, &long)).await;
    }
    let events = listener.events_up_to(&group, 14).await;
    assert_dense(&seqs(&events), 3);
    assert!(
        events
            .iter()
            .all(|event| event["body"]["text"] == long.as_str())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_is_closed_and_holds_up_nobody() {
    let keys = [
        ("QUNLIU_EGRESS_QUEUE_BYTES_MAX", "1048576"),
        ("QUNLIU_EGRESS_SLOW_READER_S", "1"),
    ];
    let sealed = Sealed::start(&keys).await;
    let (_, mut speaker, deaf, group) = talking(&sealed).await;
    let long = "😀".repeat(20_000);
    let is_closed = async || {
        let told = sealed.server.operator().get("/metrics").await.text;
        told.contains("qunliu_sockets_closed_total{code=\"4408\"} 1")
    };
    let begun = Instant::now();
    while !is_closed().await {
        assert!(begun.elapsed() < DEADLINE, "the deaf socket stays");
        let sent = speaker.ask(&text(&group, &long)).await;
        assert_eq!(sent["type"], "accepted", "{sent}");
        speaker.events(&group, 1).await;
    }
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_and_a_drain_are_told() {
    let mut sealed = Sealed::start(&[]).await;
    let (owner, mut speaker, ..) = talking(&sealed).await;
    let mut stranger = sealed.open_with(sealed.trust()).await;
    stranger.say_text("nonsense").await;
    assert_eq!(stranger.wait("error").await["code"], "bad_request");
    assert_eq!(stranger.closed().await, 4400);
    let replacing = sealed.greeted(&owner, "web-1").await;
    assert_eq!(speaker.closed().await, 4409);
    let mut last = replacing;
    sealed.server.stop(DEADLINE).await;
    last.wait("goaway").await;
    assert_eq!(last.closed().await, 1012);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_taken_while_sockets_live_on_and_a_bad_one_is_not() {
    let sealed = Sealed::start(&[]).await;
    let (_, mut speaker, mut listener, group) = talking(&sealed).await;
    let shown = async || {
        let stream = connect(sealed.server.address, sealed.trust())
            .await
            .unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].clone().into_owned()
    };
    let first = shown().await;
    sealed.authority.write("no certificate", "no key");
    let is_refused = async || {
        let told = sealed.server.operator().get("/metrics").await.text;
        told.contains("qunliu_certificate_changes_total{result=\"refused\"} 1")
    };
    eventually(DEADLINE, is_refused).await;
    assert_eq!(shown().await, first, "a bad pair changes nothing");
    let second = sealed.authority.renew();
    eventually(DEADLINE, async || shown().await == second).await;
    assert_eq!(speaker.ask(&text(&group, "在吗")).await["type"], "accepted");
    assert_eq!(listener.events(&group, 1).await.len(), 1);
}

/// Reads until the server ends the connection; how long that took.
async fn until_closed(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut read = Vec::new();
    let reading = timeout(DEADLINE, stream.read_to_end(&mut read)).await;
    // A reset is an end too.
    drop(reading.expect("the server ends the connection"));
    (read, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_does_not_go_on_is_ended() {
    let sealed = Sealed::start(&[("QUNLIU_HTTP_HEAD_S_MAX", "1")]).await;
    let hello_begun = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    for sent in [&[][..], &hello_begun] {
        let mut stream = TcpStream::connect(sealed.server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let (read, took) = until_closed(&mut stream).await;
        assert!(
            read.is_empty() && took < Duration::from_secs(10),
            "{took:?}"
        );
    }
    let silent = connect(sealed.server.address, sealed.trust())
        .await
        .unwrap();
    let mut silent = silent;
    let mut read = Vec::new();
    let ended = timeout(DEADLINE, silent.read_to_end(&mut read)).await;
    assert!(ended.is_ok(), "silence after the handshake");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_text_and_http2_are_refused() {
    let sealed = Sealed::start(&[]).await;
    let mut plain = TcpStream::connect(sealed.server.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let (read, _) = until_closed(&mut plain).await;
    assert!(!read.starts_with(b"HTTP"), "{read:?}");
    let only_h2 = sealed.authority.client(&[&TLS13], &["h2"]);
    assert!(connect(sealed.server.address, only_h2).await.is_err());
    let mut h2c = connect(sealed.server.address, sealed.trust())
        .await
        .unwrap();
    h2c.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut read = Vec::new();
    drop(timeout(DEADLINE, h2c.read_to_end(&mut read)).await.unwrap());
    assert!(
        read.is_empty() || read.starts_with(b"HTTP/1.1 400"),
        "{read:?}"
    );
}

/// The clients of a run, and the audit of what they saw, over TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_many_clients_is_found_flawless() {
    let sealed = Sealed::start(&[]).await;
    let url = format!("https://{}", sealed.server.address);
    let ca = sealed.authority.ca();
    let mut load = tokio::process::Command::new(env!("CARGO_BIN_EXE_qunliu"));
    load.args(["load", "--url", &url, "--ca"]).arg(ca);
    load.args(["--users", "8", "--groups", "2"]);
    load.args(["--rate", "40", "--seconds", "2"]);
    let output = load.kill_on_drop(true).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}

/// Runs the program, which must end by itself.
fn serve(arguments: &[&str], keys: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qunliu"));
    command
        .arg("serve")
        .args(arguments)
        .envs(keys.iter().copied());
    command.output().unwrap()
}

fn assert_refused(output: &Output, named: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    for name in named {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn plain_text_beyond_loopback_is_refused_with_what_to_do() {
    let refused = serve(&["--listen", "0.0.0.0:0"], &[]);
    let ways = [
        "http.tls_cert",
        "http.tls_key",
        "http.proxies",
        "http.insecure",
    ];
    assert_refused(&refused, &ways);
    let half = serve(&[], &[("QUNLIU_HTTP_TLS_KEY", "server.key")]);
    assert_refused(&half, &["http.tls_cert"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_loopback_tls_a_proxy_or_a_decision_is_enough() {
    let beyond = ("QUNLIU_SERVER_LISTEN", "0.0.0.0:0");
    for decision in [
        ("QUNLIU_HTTP_PROXIES", "10.0.0.1"),
        ("QUNLIU_HTTP_INSECURE", "true"),
    ] {
        TestServer::start_with(&[beyond, decision]).await;
    }
    Sealed::start(&[beyond]).await;
}

#[test]
fn a_pair_that_cannot_be_used_stops_the_start() {
    let authority = Authority::new();
    let (certificate, key) = (authority.certificate(), authority.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let data = certificate.replace("server.pem", "data");
    let pair = |certificate, key| {
        let keys = [
            ("QUNLIU_HTTP_TLS_CERT", certificate),
            ("QUNLIU_HTTP_TLS_KEY", key),
        ];
        let arguments = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        serve(&[&arguments[..], &["--data", &data]].concat(), &keys)
    };
    assert_refused(&pair("/nowhere.pem", key), &["/nowhere.pem"]);
    assert_refused(&pair(key, key), &["server.key", "certificate"]);
    assert_refused(
        &pair(certificate, certificate),
        &["server.pem", "private key"],
    );
    let other = Authority::new();
    let other = other.key();
    assert_refused(
        &pair(certificate, other.to_str().unwrap()),
        &["cannot be used"],
    );
}
