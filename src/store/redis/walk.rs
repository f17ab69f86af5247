//! Walks over all keys of a server: only for mending, which must find what no list names.

use redis::cmd;

use super::links::Links;
use super::reply::{at, list, text};
use super::topology::home::Home;
use super::topology::shard::Lane;
use crate::store::Result;

/// Keys looked at in one step.
const STEP: usize = 1000;

/// The keys that match `pattern` on every server; some perhaps twice.
pub(super) async fn all_keys(links: &Links, pattern: &str) -> Result<Vec<String>> {
    let map = links.topology.map();
    let mut seen = Vec::new();
    let mut keys = Vec::new();
    for home in Home::all() {
        let server = map.index(home);
        if !seen.contains(&server) {
            seen.push(server);
            walk(links, home, pattern, &mut keys).await?;
        }
    }
    Ok(keys)
}

async fn walk(links: &Links, there: Home, pattern: &str, keys: &mut Vec<String>) -> Result<()> {
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(&cursor).arg("MATCH").arg(pattern);
        scan.arg("COUNT").arg(STEP);
        let answer = links.call(Lane::Reads, there, &scan).await?;
        let answer = list(&answer)?;
        for key in list(at(answer, 1)?)? {
            keys.push(text(key)?.to_owned());
        }
        cursor = text(at(answer, 0)?)?.to_owned();
        if cursor == "0" {
            return Ok(());
        }
    }
}
