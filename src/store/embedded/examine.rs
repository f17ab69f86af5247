//! A look at the SQLite file, beside a running server or without one. It is opened for reading
//! only: nothing is made, migrated or repaired.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::database::{MIGRATIONS, check_version, safe_options, store_error};
use crate::store::Result;
use crate::store::finding::Finding;
use crate::store::relational::migrations;

/// Looks at the file at `path`.
pub async fn examine(path: &Path) -> Vec<Finding> {
    if !path.exists() {
        let found = format!("{} is not there yet", path.display());
        let mend = "nothing: the first start makes it";
        return vec![Finding::warn("sqlite file", found, mend)];
    }
    match look(path).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::unusable("sqlite", &error)],
    }
}

async fn look(path: &Path) -> Result<Vec<Finding>> {
    let options: SqliteConnectOptions = safe_options(path).read_only(true);
    let mut connection = options.connect().await.map_err(store_error)?;
    let findings = vec![
        mode(path),
        version(&mut connection).await?,
        journal(&mut connection).await?,
        synchronous(&mut connection).await?,
        integrity(&mut connection).await?,
        schema(&mut connection).await?,
    ];
    connection.close().await.map_err(store_error)?;
    Ok(findings)
}

fn mode(path: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let what = "sqlite file";
    let mode = match std::fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(error) => return Finding::unseen(what, error),
    };
    let found = format!("mode {mode:04o}");
    match mode & 0o077 {
        0 => Finding::ok(what, found),
        _ => Finding::warn(what, found, "chmod 600: others may read every message"),
    }
}

async fn ask(connection: &mut SqliteConnection, sql: &'static str) -> Result<String> {
    let answer = sqlx::query_scalar(sql).fetch_one(connection).await;
    answer.map_err(store_error)
}

async fn version(connection: &mut SqliteConnection) -> Result<Finding> {
    let version = ask(connection, "SELECT sqlite_version()").await?;
    let judged = check_version(&version);
    Ok(Finding::of("sqlite version", version, judged))
}

async fn journal(connection: &mut SqliteConnection) -> Result<Finding> {
    let mode = ask(connection, "SELECT journal_mode FROM pragma_journal_mode").await?;
    let what = "sqlite journal_mode";
    Ok(match mode.as_str() {
        "wal" => Finding::ok(what, mode),
        _ => Finding::warn(what, mode, "nothing: the next start sets it to wal"),
    })
}

/// Asked of a connection as the server opens it, for it is no property of the file.
async fn synchronous(connection: &mut SqliteConnection) -> Result<Finding> {
    let sql = "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous";
    let what = "sqlite synchronous";
    Ok(match ask(connection, sql).await?.as_str() {
        "2" => Finding::ok(what, "full"),
        other => Finding::fail(what, other, "this program was built wrongly: use a release"),
    })
}

/// Reads the whole file, so it may take a while.
async fn integrity(connection: &mut SqliteConnection) -> Result<Finding> {
    let what = "sqlite quick_check";
    Ok(
        match ask(connection, "PRAGMA quick_check(1)").await?.as_str() {
            "ok" => Finding::ok(what, "ok"),
            damage => Finding::fail(what, damage, "restore the newest backup; keep this file"),
        },
    )
}

async fn schema(connection: &mut SqliteConnection) -> Result<Finding> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let there: i64 = sqlx::query_scalar(there)
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    let applied = match there {
        0 => Vec::new(),
        _ => sqlx::query_scalar(migrations::APPLIED)
            .fetch_all(connection)
            .await
            .map_err(store_error)?,
    };
    let known = MIGRATIONS.iter().map(|migration| migration.version);
    Ok(migrations::judge("sqlite schema", known, &applied))
}
