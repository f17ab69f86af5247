//! What a Redis must be before it is trusted with messages. Each refusal says how to mend it.

use redis::{RedisError, Value, cmd};

use super::fault::{STORE, fault};
use super::link::Link;
use super::log::{info_field, info_text};
use super::options::Options;
use super::reply::{pairs, text};
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
        "appendonly is {0}, so a restart would lose all messages: \
         CONFIG SET appendonly yes, and set it in redis.conf"
    )]
    NoAppendOnly(String),
    #[error(
        "appendfsync is {0}, so a crash would lose messages that were accepted: \
         CONFIG SET appendfsync always, and set it in redis.conf"
    )]
    LateSync(String),
    #[error("its settings cannot be read ({0}): grant the user +config|get and +info")]
    Unreadable(RedisError),
}

/// Checks version and settings. Answers what is wrong and was allowed by the options.
///
/// # Errors
/// `Failed` with an [`Unfit`] as its cause; `Unavailable`.
pub(super) async fn check(link: &Link, options: &Options) -> Result<Option<Unfit>> {
    let info = link
        .command(cmd("INFO").arg("server"))
        .await
        .map_err(fault)?;
    let info = info_text(&info)?;
    check_version(info_field(&info, "redis_version").unwrap_or_default()).map_err(refusal)?;
    let settings = ["maxmemory-policy", "appendonly", "appendfsync"];
    let answer = link.command(cmd("CONFIG").arg("GET").arg(&settings)).await;
    let answer = answer.map_err(|error| match fault(error.clone()) {
        StoreError::Failed { .. } => refusal(Unfit::Unreadable(error)),
        transient => transient,
    })?;
    let [policy, append_only, sync] = settings.map(|name| setting(&answer, name));
    check_policy(policy?).map_err(refusal)?;
    match check_durability(append_only?, sync?) {
        Err(unfit) if options.allow_data_loss => Ok(Some(unfit)),
        Err(unfit) => Err(refusal(unfit)),
        Ok(()) => Ok(None),
    }
}

fn refusal(unfit: Unfit) -> StoreError {
    StoreError::Failed {
        store: STORE,
        source: unfit.into(),
    }
}

/// The value of a setting; empty if the server does not have it.
fn setting<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    let mut pairs = pairs(answer)?.iter();
    let found = pairs.find(|(key, _)| text(key).is_ok_and(|key| key == name));
    found.map_or(Ok(""), |(_, value)| text(value))
}

fn check_version(version: &str) -> std::result::Result<(), Unfit> {
    let major: Option<u32> = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    match major {
        Some(7..) => Ok(()),
        _ => Err(Unfit::Version(version.to_owned())),
    }
}

fn check_policy(policy: &str) -> std::result::Result<(), Unfit> {
    match policy {
        "noeviction" => Ok(()),
        other => Err(Unfit::Eviction(other.to_owned())),
    }
}

fn check_durability(append_only: &str, sync: &str) -> std::result::Result<(), Unfit> {
    match (append_only, sync) {
        ("yes", "always") => Ok(()),
        ("yes", other) => Err(Unfit::LateSync(other.to_owned())),
        (other, _) => Err(Unfit::NoAppendOnly(other.to_owned())),
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
        assert_eq!(
            check_durability("no", "always"),
            Err(Unfit::NoAppendOnly("no".to_owned()))
        );
        let everysec = check_durability("yes", "everysec");
        assert_eq!(everysec, Err(Unfit::LateSync("everysec".to_owned())));
        assert_eq!(check_durability("yes", "always"), Ok(()));
        assert!(check_policy("allkeys-lru").is_err());
    }
}
