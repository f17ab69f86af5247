//! Everyone and everything a run needs, made through REST: an owner, users, groups, members.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::plan::Plan;
use super::rest::{Account, Node, RestError};
use crate::model::id::{GroupId, UserId};

/// How many calls are on their way at once; hashing a password costs the server a core for
/// about 22 ms, so more would only queue.
pub const CALLS_AT_ONCE: usize = 16;
/// The most members that one call adds (protocol.md).
const MEMBERS_PER_CALL: usize = 200;
/// The password of the users of a run: they hold nothing.
const PASSWORD: &str = "load-load-load";

/// Why a run is impossible.
#[derive(Debug, thiserror::Error)]
pub enum Impossible {
    /// The owner's account is not there, or is no owner.
    #[error("{0}")]
    Owner(String),
    /// A call failed.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The clients did not all connect.
    #[error("{0}")]
    Connect(String),
    /// The arguments make no run.
    #[error("{0}")]
    Arguments(String),
    /// A file could not be read.
    #[error("{path}")]
    File {
        /// Which file.
        path: String,
        /// What happened.
        source: std::io::Error,
    },
    /// No HTTP client could be made.
    #[error("no HTTP client")]
    Http(#[from] reqwest::Error),
}

/// How the owner logs in.
#[derive(Debug, Clone, Default)]
pub struct OwnerLogin {
    /// The account name; `None` = the first account of a fresh server.
    pub name: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// What a fresh server that listens to the world printed at its start.
    pub setup_code: Option<String>,
}

/// Logs the owner in; on a fresh server the owner is registered and founds the merchant.
///
/// # Errors
/// There is no such account, or the server is not fresh and no account was named.
pub async fn owner(node: &Node, login: &OwnerLogin, run: &str) -> Result<Account, Impossible> {
    let password = login.password.as_deref().unwrap_or(PASSWORD);
    if let Some(name) = &login.name {
        match node.log_in(name, password).await {
            Err(error) if error.is_unauthenticated() => {}
            account => return Ok(account?),
        }
    }
    let name = login
        .name
        .clone()
        .unwrap_or_else(|| format!("load-{run}-owner"));
    let account = node
        .register(&name, password, login.setup_code.as_deref())
        .await;
    let account = account.map_err(explain_setup_code)?;
    if account.merchant.is_none() {
        let said = "the server already has accounts: name its owner by --owner and --password";
        return Err(Impossible::Owner(said.to_owned()));
    }
    Ok(account)
}

fn explain_setup_code(error: RestError) -> Impossible {
    match &error {
        RestError::Refused { fields, .. } if fields.iter().any(|field| field == "setup_code") => {
            Impossible::Owner(format!(
                "{error}; give --setup-code as the server printed it"
            ))
        }
        _ => Impossible::Rest(error),
    }
}

/// Registers `count` users, spread over the nodes, calling `tick` after each.
///
/// # Errors
/// The first call that failed.
pub async fn users(
    nodes: &[Node],
    run: &str,
    count: usize,
    tick: impl Fn(),
) -> Result<Vec<Account>, Impossible> {
    let calls = stream::iter(0..count).map(|user| {
        let tick = &tick;
        async move {
            let node = &nodes[user % nodes.len()];
            let name = format!("load-{run}-{user}");
            let account = node.register(&name, PASSWORD, None).await?;
            tick();
            Ok(account)
        }
    });
    calls.buffered(CALLS_AT_ONCE).try_collect().await
}

/// Creates the groups of the plan and adds their members, calling `tick` after each group.
///
/// # Errors
/// The first call that failed.
pub async fn groups(
    nodes: &[Node],
    token: &str,
    plan: &Plan,
    users: &[UserId],
    tick: impl Fn(),
) -> Result<Vec<GroupId>, Impossible> {
    let calls = stream::iter(0..plan.groups()).map(|group| {
        let tick = &tick;
        async move {
            let node = &nodes[group % nodes.len()];
            let id = node
                .create_group(token, &format!("压测 {group} 群"))
                .await?;
            let members = plan
                .members(group)
                .iter()
                .filter_map(|user| users.get(*user));
            let members: Vec<UserId> = members.copied().collect();
            for some in members.chunks(MEMBERS_PER_CALL) {
                node.add_members(token, id, some).await?;
            }
            tick();
            Ok(id)
        }
    });
    calls.buffered(CALLS_AT_ONCE).try_collect().await
}

/// Creates `count` groups in which nobody speaks, each with one of `users`, calling `tick` after
/// each.
///
/// # Errors
/// The first call that failed.
pub async fn idle_groups(
    nodes: &[Node],
    token: &str,
    count: usize,
    users: &[Account],
    tick: impl Fn(),
) -> Result<(), Impossible> {
    let calls = stream::iter(0..count).map(|group| {
        let tick = &tick;
        async move {
            let node = &nodes[group % nodes.len()];
            let id = node.create_group(token, &format!("静 {group} 群")).await?;
            let member = users[group % users.len()].user.id;
            node.add_members(token, id, &[member]).await?;
            tick();
            Ok::<_, Impossible>(())
        }
    });
    calls.buffer_unordered(CALLS_AT_ONCE).try_collect().await
}
