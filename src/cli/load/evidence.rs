//! What the server says after the run, gathered through REST from every node: each group's whole
//! timeline and each user's unread counts. The check compares it with what the clients saw.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::record::{Scene, Seen};
use super::rest::{Node, RestError};
use super::setup::CALLS_AT_ONCE;
use crate::model::id::GroupId;

/// What one node says.
#[derive(Debug, Clone, Default)]
pub struct Testimony {
    /// Where the node is.
    pub node: String,
    /// The timeline of each group, by its index.
    pub logs: Vec<Vec<Seen>>,
    /// The counts of each user, by its index.
    pub counts: Vec<Counts>,
}

/// The unread counts of one user. Groups by their index; what is not listed has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// The sum that `GET /v1/unread` tells.
    pub total: u64,
    /// By group, from `GET /v1/unread`.
    pub unread: BTreeMap<usize, u64>,
    /// By group, from the list of groups.
    pub listed: BTreeMap<usize, u64>,
}

impl Counts {
    /// Whether all that was told is this recount.
    pub fn agree_with(&self, recount: &BTreeMap<usize, u64>) -> bool {
        let same = |told: &BTreeMap<usize, u64>| {
            recount
                .iter()
                .all(|(group, count)| told.get(group).copied().unwrap_or(0) == *count)
        };
        self.total == recount.values().sum::<u64>() && same(&self.unread) && same(&self.listed)
    }
}

/// Reads every group's timeline from the node as the owner sees it.
///
/// # Errors
/// The first call that failed.
pub async fn logs(node: &Node, token: &str, scene: &Scene) -> Result<Vec<Vec<Seen>>, RestError> {
    let calls = stream::iter(scene.groups.iter().enumerate()).map(|(index, group)| async move {
        let events = node.timeline(token, *group).await?;
        Ok(events.iter().map(|event| scene.see(index, event)).collect())
    });
    calls.buffered(CALLS_AT_ONCE).try_collect().await
}

/// Reads every user's counts from the node.
///
/// # Errors
/// The first call that failed.
pub async fn counts(
    node: &Node,
    tokens: &[String],
    scene: &Scene,
) -> Result<Vec<Counts>, RestError> {
    let calls = stream::iter(tokens).map(|token| counts_of(node, token, scene));
    calls.buffered(CALLS_AT_ONCE).try_collect().await
}

/// Reads the counts of the user with this token.
///
/// # Errors
/// The first call that failed.
pub async fn counts_of(node: &Node, token: &str, scene: &Scene) -> Result<Counts, RestError> {
    let told = node.unread(token).await?;
    let groups = node.groups(token).await?;
    let unread = told
        .groups
        .into_iter()
        .map(|(group, count)| (group, count.unread));
    let listed = groups.into_iter().map(|line| (line.id, line.unread));
    Ok(Counts {
        total: told.unread,
        unread: by_index(scene, unread),
        listed: by_index(scene, listed),
    })
}

fn by_index(scene: &Scene, counts: impl Iterator<Item = (GroupId, u64)>) -> BTreeMap<usize, u64> {
    counts
        .filter_map(|(group, count)| Some((scene.group(group)?, count)))
        .collect()
}
