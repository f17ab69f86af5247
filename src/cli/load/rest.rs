//! The REST calls of a run, with their own types of the answers: only the fields it needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;

use super::dial::{self, Stream};
use super::wire::Event;
use crate::model::id::{GroupId, UserId};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long an unused connection is kept: less than servers and proxies keep one (ours
/// `http.head_s_max`, 30 s), for a request that meets the other side's close has no answer.
const UNUSED_MAX: Duration = Duration::from_secs(5);
/// How often a call that was told to wait, or a broken one that changes nothing, is tried.
const TRIES: u32 = 60;
/// The shortest wait between two tries.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The server refused it.
    #[error("{path}: {status} {code}: {detail}")]
    Refused {
        /// What was called.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// The code of the problem.
        code: String,
        /// The fields that were wrong.
        fields: Vec<String>,
        /// What was wrong, in words.
        detail: String,
    },
    /// No answer, or none that can be read.
    #[error("{path}")]
    Broken {
        /// What was called.
        path: String,
        /// What happened.
        source: reqwest::Error,
    },
}

impl RestError {
    /// Whether the server said that the credentials are not good, or no more.
    pub fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED)
    }
}

/// One node of the server.
#[derive(Debug, Clone)]
pub struct Node {
    http: reqwest::Client,
    base: String,
    tls: Arc<ClientConfig>,
}

/// The answer to register and log in.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Who.
    pub user: AccountUser,
    /// The tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// The merchant that the first account founds.
    #[serde(default)]
    pub merchant: Option<Value>,
}

/// The user of an account.
#[derive(Debug, Clone, Deserialize)]
pub struct AccountUser {
    /// The id.
    pub id: UserId,
}

/// What proves who calls.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    /// For calls and sockets.
    pub access_token: String,
    /// For new tokens.
    pub refresh_token: String,
    /// Seconds that the access token lives.
    pub expires_in: u64,
}

/// A group as its member sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct GroupLine {
    /// The group.
    pub id: GroupId,
    /// Messages of others above the own read cursor.
    #[serde(default)]
    pub unread: u64,
}

/// The answer of `GET /v1/unread`.
#[derive(Debug, Clone, Deserialize)]
pub struct UnreadCounts {
    /// The sum.
    pub unread: u64,
    /// By group; those without any may be left out.
    pub groups: BTreeMap<GroupId, GroupUnread>,
}

/// The unread of one group.
#[derive(Debug, Clone, Deserialize)]
pub struct GroupUnread {
    /// Messages of others above the own read cursor.
    pub unread: u64,
}

#[derive(Deserialize)]
struct Listing<T> {
    items: Vec<T>,
    next: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    errors: Vec<ProblemField>,
}

#[derive(Deserialize)]
struct ProblemField {
    field: String,
}

impl Node {
    /// The node at `base`, as `http://127.0.0.1:8080`, or `https://…` of somebody `tls` trusts.
    ///
    /// # Errors
    /// No HTTP client could be made.
    pub fn new(base: &str, tls: &ClientConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_idle_timeout(UNUSED_MAX)
            .no_proxy()
            .tls_backend_preconfigured(tls.clone())
            .build()?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            tls: Arc::new(tls.clone()),
        })
    }

    /// A stream to the node.
    ///
    /// # Errors
    /// It is not there, or is not who it says.
    pub async fn dial(&self) -> std::io::Result<Stream> {
        let tls = Some(&self.tls).filter(|_| self.base.starts_with("https:"));
        dial::connect(&self.address().unwrap_or_default(), tls).await
    }

    /// `host:port` of the node, for a socket; `None` unless the URL is one of HTTP.
    pub fn address(&self) -> Option<String> {
        let (rest, port) = match self.base.strip_prefix("http://") {
            Some(rest) => (rest, 80),
            None => (self.base.strip_prefix("https://")?, 443),
        };
        let host = rest.split('/').next()?;
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Some(if has_port {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        })
    }

    /// Where the node is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Registers an account.
    ///
    /// # Errors
    /// See [`RestError`]; also for all calls below.
    pub async fn register(
        &self,
        name: &str,
        password: &str,
        setup_code: Option<&str>,
    ) -> Result<Account, RestError> {
        let mut body = json!({"name": name, "password": password, "display_name": name});
        if let Some(code) = setup_code {
            body["setup_code"] = json!(code);
        }
        self.call(Method::POST, "/v1/auth/register", None, Some(body))
            .await
    }

    /// Logs in.
    pub async fn log_in(&self, name: &str, password: &str) -> Result<Account, RestError> {
        let body = json!({"name": name, "password": password});
        self.call(Method::POST, "/v1/auth/login", None, Some(body))
            .await
    }

    /// Trades a refresh token for new tokens.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, RestError> {
        let body = json!({"refresh_token": refresh_token});
        self.call(Method::POST, "/v1/auth/refresh", None, Some(body))
            .await
    }

    /// Creates a group.
    pub async fn create_group(&self, token: &str, name: &str) -> Result<GroupId, RestError> {
        let body = json!({"name": name});
        let group: GroupLine = self
            .call(Method::POST, "/v1/groups", Some(token), Some(body))
            .await?;
        Ok(group.id)
    }

    /// Adds members to a group, at most 200.
    pub async fn add_members(
        &self,
        token: &str,
        group: GroupId,
        users: &[UserId],
    ) -> Result<(), RestError> {
        let path = format!("/v1/groups/{group}/members");
        let body = json!({"users": users, "role": "member"});
        let _: Value = self
            .call(Method::POST, &path, Some(token), Some(body))
            .await?;
        Ok(())
    }

    /// The whole timeline of a group, walked from its start by `next`.
    pub async fn timeline(&self, token: &str, group: GroupId) -> Result<Vec<Event>, RestError> {
        let mut events = Vec::new();
        let mut after = Some("0-0".to_owned());
        while let Some(pos) = after.take() {
            let path = format!("/v1/groups/{group}/messages?after={pos}&limit=200");
            let page: Listing<Event> = self.call(Method::GET, &path, Some(token), None).await?;
            events.extend(page.items);
            after = page.next.filter(|next| *next != pos);
        }
        Ok(events)
    }

    /// The unread counts of a user.
    pub async fn unread(&self, token: &str) -> Result<UnreadCounts, RestError> {
        self.call(Method::GET, "/v1/unread", Some(token), None)
            .await
    }

    /// The groups of a user, all pages.
    pub async fn groups(&self, token: &str) -> Result<Vec<GroupLine>, RestError> {
        let mut groups = Vec::new();
        let mut path = Some("/v1/groups?limit=50".to_owned());
        while let Some(at) = path.take() {
            let page: Listing<GroupLine> = self.call(Method::GET, &at, Some(token), None).await?;
            groups.extend(page.items);
            path = page
                .next
                .map(|cursor| format!("/v1/groups?limit=50&cursor={cursor}"));
        }
        Ok(groups)
    }

    /// One call; one that was told to wait is tried again, as is a question whose connection broke.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<T, RestError> {
        let broken = |source| RestError::Broken {
            path: path.to_owned(),
            source,
        };
        let mut tries = 1;
        loop {
            let is_last = tries >= TRIES;
            let pause = match self.send(&method, path, token, body.as_ref()).await {
                Ok(answer) if answer.status().is_success() => {
                    return answer.json().await.map_err(broken);
                }
                Ok(answer) if is_last || !tells_to_wait(&answer) => {
                    return Err(refusal(path, answer).await);
                }
                Ok(answer) => retry_after(&answer),
                Err(error) if is_last || error.is_timeout() || !method.is_safe() => {
                    return Err(broken(error));
                }
                Err(_) => WAIT_MIN,
            };
            tries += 1;
            tokio::time::sleep(pause).await;
        }
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::Result<reqwest::Response> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await
    }
}

/// Also of an outcome that is unknown: what is asked here may be asked again.
fn tells_to_wait(answer: &reqwest::Response) -> bool {
    answer.headers().contains_key(RETRY_AFTER)
}

/// What `Retry-After` asks for, in seconds, within bounds.
fn retry_after(answer: &reqwest::Response) -> Duration {
    let header = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let seconds = header.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).clamp(WAIT_MIN, WAIT_MAX)
}

async fn refusal(path: &str, answer: reqwest::Response) -> RestError {
    let status = answer.status();
    let problem: Problem = answer.json().await.unwrap_or_default();
    RestError::Refused {
        path: path.to_owned(),
        status,
        code: problem.code,
        fields: problem
            .errors
            .into_iter()
            .map(|error| error.field)
            .collect(),
        detail: problem.detail,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::lifecycle::Tasks;
    use crate::model::causes::full_text;

    #[test]
    fn only_a_url_that_can_be_dialled_has_an_address() {
        let nobody = dial::trust(None).unwrap();
        let address = |url| Node::new(url, &nobody).unwrap().address();
        assert_eq!(
            address("http://127.0.0.1:18080/").as_deref(),
            Some("127.0.0.1:18080")
        );
        assert_eq!(
            address("http://chat.example").as_deref(),
            Some("chat.example:80")
        );
        assert_eq!(address("http://[::1]:9").as_deref(), Some("[::1]:9"));
        assert_eq!(
            address("https://chat.example").as_deref(),
            Some("chat.example:443")
        );
        assert_eq!(address("ftp://chat.example"), None);
    }

    /// A server that hangs up on the first `broken` calls, and answers the next.
    async fn hangs_up(tasks: &Tasks, broken: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn(async move {
            for call in 0..=broken {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                if call == broken {
                    let body = r#"{"unread":7,"groups":{}}"#;
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        base
    }

    #[tokio::test]
    async fn a_question_whose_connection_breaks_is_asked_again() {
        let nobody = dial::trust(None).unwrap();
        let tasks = Tasks::default();
        let node = Node::new(&hangs_up(&tasks, 2).await, &nobody).unwrap();
        assert_eq!(node.unread("token").await.unwrap().unread, 7);
    }

    #[tokio::test]
    async fn a_change_whose_connection_breaks_is_not_and_says_why() {
        let nobody = dial::trust(None).unwrap();
        let tasks = Tasks::default();
        let node = Node::new(&hangs_up(&tasks, 1).await, &nobody).unwrap();
        let error = node.register("小王", "password", None).await.unwrap_err();
        let text = full_text(&error);
        assert!(text.starts_with("/v1/"), "{text}");
        assert!(text.contains("connection closed before"), "{text}");
    }
}
