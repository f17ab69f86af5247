//! A whole server in this process, on free ports, with embedded stores in a folder that goes with
//! it and a clock that stands still until the test moves it; and a small client of its REST API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qunliu::clock::ManualClock;
use qunliu::config::{Config, Environment, Flags};
use qunliu::ingress::route::Signature;
use qunliu::lifecycle::Stopped;
use qunliu::model::time::Time;
use qunliu::server::Server;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;

use super::folder::Folder;
use super::socket::DEADLINE;
use super::{held_up, http};

/// The password of everyone.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// When every test begins.
const BEGINNING: Time = Time::from_millis(1_764_000_000_000);

/// A running server.
pub(crate) struct TestServer {
    server: Option<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) clock: ManualClock,
    folder: Arc<Folder>,
}

impl TestServer {
    /// With the defaults.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With keys set as the environment sets them.
    pub(crate) async fn start_with(keys: &[(&str, &str)]) -> Self {
        let clock = ManualClock::at(BEGINNING);
        Self::start_in(Arc::new(Folder::new()), keys, clock).await
    }

    async fn start_in(folder: Arc<Folder>, keys: &[(&str, &str)], clock: ManualClock) -> Self {
        let file = folder.file();
        let data = file.parent().unwrap().to_str().unwrap();
        let mut all = vec![
            ("QUNLIU_SERVER_LISTEN", "127.0.0.1:0"),
            ("QUNLIU_SERVER_ADMIN_LISTEN", "127.0.0.1:0"),
        ];
        all.extend_from_slice(keys);
        let flags = Flags {
            data: Some(data.to_owned()),
            ..Flags::default()
        };
        let config = Config::load(None, &Environment::of(&all), &flags).unwrap();
        let server = Box::pin(Server::start(config, Arc::new(clock.clone())))
            .await
            .unwrap();
        Self {
            address: server.address(),
            admin: server.admin_address(),
            server: Some(server),
            clock,
            folder,
        }
    }

    /// The folder of what it keeps itself.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.file().parent().unwrap().to_owned()
    }

    /// The setup code, if one is asked for.
    pub(crate) fn setup_code(&self) -> Option<&str> {
        self.server.as_ref().unwrap().setup_code()
    }

    /// What clients may call.
    pub(crate) fn routes(&self) -> &[Signature] {
        self.server.as_ref().unwrap().routes()
    }

    /// Stops it, waiting so long for what is under way.
    pub(crate) async fn stop(&mut self, deadline: Duration) -> Stopped {
        let server = self.server.take().unwrap();
        server.stop(deadline, std::future::pending()).await
    }

    /// Stops it and starts another over the same data.
    pub(crate) async fn restart(mut self) -> Self {
        assert_eq!(self.stop(Duration::from_secs(10)).await, Stopped::Drained);
        self.started_again().await
    }

    /// Another one over the data of this one, which was stopped.
    pub(crate) async fn started_again(self) -> Self {
        Self::start_in(Arc::clone(&self.folder), &[], self.clock.clone()).await
    }

    /// A client without a token.
    pub(crate) fn anyone(&self) -> Client {
        Client::of(self.address)
    }

    /// The value of a line of its metrics: a name with its labels; 0 if there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let metrics = self.operator().get("/metrics").await.text;
        let value = metrics.lines().find_map(|found| found.strip_prefix(line));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// A client of the operators' listener.
    pub(crate) fn operator(&self) -> Client {
        Client::of(self.admin)
    }

    /// A new account, and a client with its token. The first one owns the merchant.
    pub(crate) async fn register(&self, name: &str) -> Person {
        Person::register_by(self.address, name, self.setup_code()).await
    }

    /// Whether this name and password are taken.
    pub(crate) async fn try_log_in(&self, name: &str, password: &str, device: &str) -> Answer {
        let body = json!({"name": name, "password": password, "device": device});
        self.anyone().post("/v1/auth/login", &body).await
    }

    /// A further session of an account.
    pub(crate) async fn log_in(&self, name: &str, password: &str, device: &str) -> Person {
        let granted = self.try_log_in(name, password, device).await.ok();
        Person::of(self.address, &granted)
    }
}

/// Someone with an account, logged in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) client: Client,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Person {
    /// A new account at this server.
    pub(crate) async fn register(address: SocketAddr, name: &str) -> Self {
        Self::register_by(address, name, None).await
    }

    /// The same at one that may ask the first account for a code.
    async fn register_by(address: SocketAddr, name: &str, code: Option<&str>) -> Self {
        let mut body = json!({"name": name, "password": PASSWORD, "display_name": name});
        body["setup_code"] = json!(code);
        let granted = Client::of(address).post("/v1/auth/register", &body).await;
        Self::of(address, &granted.created())
    }

    /// Whoever was answered so for a password.
    pub(crate) fn of(address: SocketAddr, granted: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let access_token = text(&granted["access_token"]);
        Self {
            id: text(&granted["user"]["id"]),
            client: Client::of(address).with_token(&access_token),
            access_token,
            refresh_token: text(&granted["refresh_token"]),
        }
    }

    /// The same with the next tokens, from this server.
    pub(crate) async fn renewed_at(&self, server: &TestServer) -> Self {
        let refresh = json!({"refresh_token": self.refresh_token});
        let renewed = server.anyone().post("/v1/auth/refresh", &refresh).await;
        let mut granted = renewed.ok();
        granted["user"] = json!({"id": self.id});
        Self::of(server.address, &granted)
    }

    /// Founds a group with these others in it; answers its path.
    pub(crate) async fn found(&self, name: &str, others: &[&Self]) -> String {
        let members: Vec<_> = others.iter().map(|other| &other.id).collect();
        let body = json!({"name": name, "members": members});
        let group = self.client.post("/v1/groups", &body).await.created();
        format!("/v1/groups/{}", group["id"].as_str().unwrap())
    }
}

/// A client of the REST API.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    root: String,
    token: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self {
            http: http::client(),
            root: format!("http://{address}"),
            token: None,
        }
    }

    /// The same over TLS.
    pub(crate) fn over_tls(&self, trust: ClientConfig) -> Self {
        Self {
            http: http::client_over(trust),
            root: self.root.replace("http:", "https:"),
            token: self.token.clone(),
        }
    }

    /// The same with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let token = Some(token.to_owned());
        Self {
            token,
            ..self.clone()
        }
    }

    /// The same at another server.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        let root = format!("http://{address}");
        Self {
            root,
            ..self.clone()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, &body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PATCH, path, &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PUT, path, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], None).await
    }

    /// A body that is called JSON, whatever it is.
    pub(crate) async fn json(&self, method: Method, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, Some(body.as_bytes().to_owned()))
            .await
    }

    /// Asks, and asks again where the machine held the server up.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.root));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let request = request.build().unwrap();
        let begun = Instant::now();
        loop {
            let again = request.try_clone().unwrap();
            let answer = Answer::of(self.http.execute(again).await.unwrap()).await;
            let told = serde_json::from_str(&answer.text).unwrap_or_default();
            match held_up(&told) {
                Some(wait) if begun.elapsed() < DEADLINE => tokio::time::sleep(wait).await,
                _ => return answer,
            }
        }
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// The body as JSON.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body()
    }

    pub(crate) fn created(&self) -> Value {
        assert_eq!(self.status, 201, "{self:?}");
        self.body()
    }

    /// Of a message that was taken: it is stored, or will be in a moment.
    pub(crate) fn sent(&self) -> Value {
        assert!([201, 202].contains(&self.status), "{self:?}");
        self.body()
    }

    pub(crate) fn no_content(&self) {
        assert_eq!((self.status, self.text.as_str()), (204, ""), "{self:?}");
    }

    /// A whole and honest problem (RFC 9457) with this status and code; answers it.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.body();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for text in ["type", "title", "detail"] {
            assert!(
                problem[text].as_str().is_some_and(|text| !text.is_empty()),
                "{self:?}"
            );
        }
        problem
    }

    /// A `bad_request` that names this field.
    pub(crate) fn names_field(&self, field: &str) {
        let problem = self.problem(400, "bad_request");
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        assert!(
            errors.iter().any(|error| error["field"] == field),
            "wanted {field}: {self:?}"
        );
    }
}
