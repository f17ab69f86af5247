//! What a Redis must be before it is trusted with messages. Each refusal says how to mend it.
//!
//! `INFO` tells all but when the log is synced; that takes `CONFIG GET`, which also tells
//! passwords, so a user with the least commands may not call it.

use redis::{RedisError, RedisResult, Value, cmd};

use super::fault::{STORE, fault};
use super::info::{info_field, info_text};
use super::options::Options;
use super::reply::{pairs, text};
use super::topology::link::Link;
use crate::store::{Result, StoreError};

/// Why a server is refused.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("version {0} is too old: functions came with Redis 7.0, use that or a newer one")]
    Version(String),
    #[error(
        "maxmemory-policy is {0}, so a full Redis would silently drop messages: \
         CONFIG SET maxmemory-policy noeviction, and set it in redis.conf"
    )]
    Eviction(String),
    #[error(
        "appendonly is no, so a restart would lose all messages: \
         CONFIG SET appendonly yes, and set it in redis.conf"
    )]
    NoAppendOnly,
    #[error(
        "appendfsync is {0}, so a crash would lose messages that were accepted: \
         CONFIG SET appendfsync always, and set it in redis.conf"
    )]
    LateSync(String),
}

/// What was found, and does not keep us from using the server.
#[derive(Debug)]
pub(super) enum Doubt {
    /// It is unfit, and the options allow that.
    Allowed(Unfit),
    /// Whether it syncs each append before it answers could not be seen, for this reason.
    SyncUnseen(RedisError),
}

/// Checks version and settings.
///
/// # Errors
/// `Failed` with an [`Unfit`] as its cause; `Unavailable`.
pub(super) async fn check(link: &Link, options: &Options) -> Result<Option<Doubt>> {
    let info = link.command(&cmd("INFO")).await.map_err(fault)?;
    let info = info_text(&info)?;
    let field = |name| info_field(&info, name).unwrap_or_default();
    check_version(field("redis_version")).map_err(refusal)?;
    check_policy(field("maxmemory_policy")).map_err(refusal)?;
    let mut sync = cmd("CONFIG");
    let sync = link.command(sync.arg("GET").arg("appendfsync")).await;
    let sync = match sync_of(sync) {
        Err(error) if fault(error.clone()).is_transient() => return Err(fault(error)),
        sync => sync,
    };
    match (check_durability(field("aof_enabled"), &sync), sync) {
        (Err(unfit), _) if options.allow_data_loss => Ok(Some(Doubt::Allowed(unfit))),
        (Err(unfit), _) => Err(refusal(unfit)),
        (Ok(()), Err(error)) => Ok(Some(Doubt::SyncUnseen(error))),
        (Ok(()), Ok(_)) => Ok(None),
    }
}

fn refusal(unfit: Unfit) -> StoreError {
    StoreError::Failed {
        store: STORE,
        source: unfit.into(),
    }
}

/// The setting in an answer to CONFIG GET; empty if the server does not have it.
fn sync_of(answer: RedisResult<Value>) -> RedisResult<String> {
    let answer = answer?;
    let value = pairs(&answer).ok().and_then(<[_]>::first);
    let value = value.and_then(|(_, value)| text(value).ok());
    Ok(value.unwrap_or_default().to_owned())
}

/// Judges the version.
pub(super) fn check_version(version: &str) -> std::result::Result<(), Unfit> {
    let major: Option<u32> = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    match major {
        Some(7..) => Ok(()),
        _ => Err(Unfit::Version(version.to_owned())),
    }
}

/// Judges what the server does when it is full.
pub(super) fn check_policy(policy: &str) -> std::result::Result<(), Unfit> {
    match policy {
        "noeviction" => Ok(()),
        other => Err(Unfit::Eviction(other.to_owned())),
    }
}

/// What could not be seen is not held against the server.
fn check_durability(
    append_only: &str,
    sync: &RedisResult<String>,
) -> std::result::Result<(), Unfit> {
    match (append_only, sync.as_deref()) {
        ("1", Ok("always") | Err(_)) => Ok(()),
        ("1", Ok(other)) => Err(Unfit::LateSync(other.to_owned())),
        _ => Err(Unfit::NoAppendOnly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_refused() {
        assert_eq!(
            check_version("6.2.14"),
            Err(Unfit::Version("6.2.14".to_owned()))
        );
        assert!(check_version("").is_err());
        assert!(
            ["7.0.15", "8.2.1", "10.0"]
                .into_iter()
                .all(|v| check_version(v).is_ok())
        );
    }

    #[test]
    fn only_what_keeps_every_accepted_message_is_taken() {
        let sync = |value: &str| Ok(value.to_owned());
        for append_only in ["0", ""] {
            let unfit = check_durability(append_only, &sync("always"));
            assert_eq!(unfit, Err(Unfit::NoAppendOnly));
        }
        let everysec = check_durability("1", &sync("everysec"));
        assert_eq!(everysec, Err(Unfit::LateSync("everysec".to_owned())));
        assert!(check_durability("1", &sync("")).is_err());
        assert_eq!(check_durability("1", &sync("always")), Ok(()));
        assert!(check_policy("allkeys-lru").is_err());
    }
}
