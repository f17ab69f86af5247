//! What a Redis must be before it is trusted with messages. Each refusal says how to mend it.
//!
//! `INFO` tells all but when the log is synced; that takes `CONFIG GET`, which also tells
//! passwords, so a user with the least commands may not call it, and the operator assures it.

use redis::{RedisResult, Value, cmd};

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
    #[error(
        "whether appendfsync is always cannot be seen, for this user may not read settings ({0}): \
         see as an administrator of Redis that CONFIG GET appendfsync answers always, then say so by \
         redis.appendfsync_assured = true"
    )]
    UnseenSync(String),
}

/// Checks version and settings; answers why the server is unfit, if the options allow that.
///
/// # Errors
/// `Failed` with an [`Unfit`] as its cause; `Unavailable`.
pub(super) async fn check(link: &Link, options: &Options) -> Result<Option<Unfit>> {
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
    match check_append_only(field("aof_enabled")).and_then(|()| check_sync(&sync, options)) {
        Ok(()) => Ok(None),
        Err(unfit) if options.allow_data_loss => Ok(Some(unfit)),
        Err(unfit) => Err(refusal(unfit)),
    }
}

fn refusal(unfit: Unfit) -> StoreError {
    StoreError::failed(STORE, unfit)
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

/// Judges whether a restart keeps anything.
pub(super) fn check_append_only(enabled: &str) -> std::result::Result<(), Unfit> {
    match enabled {
        "1" => Ok(()),
        _ => Err(Unfit::NoAppendOnly),
    }
}

/// Judges when appends are synced; what cannot be seen must be assured by the operator.
pub(super) fn check_sync<E: ToString>(
    sync: &std::result::Result<String, E>,
    options: &Options,
) -> std::result::Result<(), Unfit> {
    match sync {
        Ok(always) if always == "always" => Ok(()),
        Ok(other) => Err(Unfit::LateSync(other.clone())),
        Err(_) if options.appendfsync_assured => Ok(()),
        Err(why) => Err(Unfit::UnseenSync(why.to_string())),
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
        for append_only in ["0", ""] {
            assert_eq!(check_append_only(append_only), Err(Unfit::NoAppendOnly));
        }
        assert_eq!(check_append_only("1"), Ok(()));
        let [unsure, assured] = [false, true].map(|appendfsync_assured| Options {
            appendfsync_assured,
            ..Options::default()
        });
        let sync = |value: &str| Ok::<_, String>(value.to_owned());
        for options in [&unsure, &assured] {
            let everysec = check_sync(&sync("everysec"), options);
            assert_eq!(everysec, Err(Unfit::LateSync("everysec".to_owned())));
            assert!(check_sync(&sync(""), options).is_err());
            assert_eq!(check_sync(&sync("always"), options), Ok(()));
        }
        let unseen = Err("NOPERM".to_owned());
        let refused = check_sync(&unseen, &unsure);
        assert_eq!(refused, Err(Unfit::UnseenSync("NOPERM".to_owned())));
        assert_eq!(check_sync(&unseen, &assured), Ok(()));
        assert!(check_policy("allkeys-lru").is_err());
    }
}
