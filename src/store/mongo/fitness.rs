//! Whether a server can keep the promises: a replica set (or a router before some), version 6.0
//! or newer. Asked once at start; a refusal says what is wrong and how to mend it.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};

use super::database::{Db, close};
use super::failure::failed;
use crate::store::{Result, StoreError};

/// Why a server is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "this MongoDB is a standalone server, which cannot acknowledge by majority: start mongod \
         with --replSet rs0 and run rs.initiate() once; a set of one member will do"
    )]
    Standalone,
    #[error(
        "this MongoDB was started with --replSet but its set was never initiated: run \
         rs.initiate() once"
    )]
    NotInitiated,
    #[error(
        "this MongoDB belongs to the replica set {found}, but the address asks for {wanted}: \
         correct replicaSet= in the address"
    )]
    OtherSet {
        /// The set's own name.
        found: String,
        /// The name in the address.
        wanted: String,
    },
    #[error("this MongoDB is version {0}: 6.0 or newer is needed, for clustered collections")]
    TooOld(String),
}

/// Refuses a server that is unfit.
///
/// # Errors
/// `Failed` with the reason; `Unavailable` when nothing answers within `deadline`.
pub(super) async fn check(
    client: &Client,
    options: &ClientOptions,
    deadline: Duration,
) -> Result<()> {
    let wanted = options.repl_set_name.as_deref();
    let hello = match ask(client, "hello", deadline).await {
        Ok(hello) => hello,
        Err(error) if error.is_transient() => {
            return Err(diagnose(options, deadline).await.unwrap_or(error));
        }
        Err(error) => return Err(error),
    };
    judge_kind(&hello, wanted).map_err(failed)?;
    let build = ask(client, "buildInfo", deadline).await?;
    judge_version(&build).map_err(failed)
}

/// What the server answers to a command of the admin database.
pub(super) async fn ask(client: &Client, command: &str, deadline: Duration) -> Result<Document> {
    let admin = Db::new(client.database("admin"), deadline);
    let command = admin.database().run_command(doc! { command: 1 });
    admin.call(command).await
}

/// Asks each host by itself why the driver took none of them. `None` if it is not how they are
/// set up: then the set has no primary now, or nobody answers at all.
async fn diagnose(options: &ClientOptions, deadline: Duration) -> Option<StoreError> {
    let wanted = options.repl_set_name.as_deref();
    for host in &options.hosts {
        match ask_directly(options, host, deadline).await {
            Ok(hello) => match judge_kind(&hello, wanted) {
                Ok(()) => {}
                Err(unfit) => return Some(failed(unfit)),
            },
            Err(error) => tracing::warn!(%host, %error, "MongoDB does not answer"),
        }
    }
    None
}

async fn ask_directly(
    options: &ClientOptions,
    host: &ServerAddress,
    deadline: Duration,
) -> Result<Document> {
    let mut direct = options.clone();
    direct.hosts = vec![host.clone()];
    direct.direct_connection = Some(true);
    direct.repl_set_name = None;
    let client = Client::with_options(direct).map_err(failed)?;
    let hello = ask(&client, "hello", deadline).await;
    close(client).await;
    hello
}

/// Judges the answer to `hello`.
pub(super) fn judge_kind(hello: &Document, wanted: Option<&str>) -> std::result::Result<(), Unfit> {
    let is_router = hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    let is_uninitiated = hello.get_bool("isreplicaset").is_ok_and(|is| is);
    match (hello.get_str("setName"), wanted) {
        (Ok(found), Some(wanted)) if found != wanted => Err(Unfit::OtherSet {
            found: found.to_owned(),
            wanted: wanted.to_owned(),
        }),
        (Ok(_), _) => Ok(()),
        (Err(_), _) if is_router => Ok(()),
        (Err(_), _) if is_uninitiated => Err(Unfit::NotInitiated),
        (Err(_), _) => Err(Unfit::Standalone),
    }
}

/// Judges the answer to `buildInfo`.
pub(super) fn judge_version(build: &Document) -> std::result::Result<(), Unfit> {
    let version = build.get_str("version").unwrap_or("unknown");
    let major = version.split('.').next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(major) if major >= 6 => Ok(()),
        _ => Err(Unfit::TooOld(version.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_named_set_and_a_router_are_fit() {
        let member = doc! { "setName": "rs0", "isWritablePrimary": true };
        assert_eq!(judge_kind(&member, Some("rs0")), Ok(()));
        assert_eq!(judge_kind(&member, None), Ok(()));
        assert_eq!(judge_kind(&doc! { "msg": "isdbgrid" }, None), Ok(()));
    }

    #[test]
    fn whatever_is_no_set_is_refused_with_its_own_reason() {
        let alone = doc! { "isWritablePrimary": true };
        assert_eq!(judge_kind(&alone, Some("rs0")), Err(Unfit::Standalone));
        let fresh = doc! { "isreplicaset": true, "info": "no config" };
        assert_eq!(judge_kind(&fresh, None), Err(Unfit::NotInitiated));
        let other = judge_kind(&doc! { "setName": "rs1" }, Some("rs0")).unwrap_err();
        assert!(other.to_string().contains("rs1") && other.to_string().contains("rs0"));
    }

    #[test]
    fn versions_from_six_on_are_fit() {
        for (version, fit) in [
            ("6.0.5", true),
            ("8.2.0", true),
            ("10.0", true),
            ("5.0.31", false),
        ] {
            let judged = judge_version(&doc! { "version": version });
            assert_eq!(judged.is_ok(), fit, "{version}");
        }
        assert!(judge_version(&doc! {}).is_err());
    }
}
