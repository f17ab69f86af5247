//! A look at a PostgreSQL before it is trusted: one connection, one row. Nothing is migrated.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::database::{MIGRATIONS, answer, store_error};
use crate::clock::Clock;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::finding::{Asked, Finding};
use crate::store::relational::migrations;

/// The oldest version that the tests run on, as `server_version_num` counts.
const VERSION_TESTED: i32 = 150_000;

/// Connections that one node opens.
const CONNECTIONS: i64 = 16;

const FACTS: &str = "
    SELECT current_setting('server_version') AS version,
        current_setting('server_version_num')::int AS version_num,
        pg_is_in_recovery() AS is_replica,
        current_setting('fsync') AS fsync,
        current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('full_page_writes') AS full_page_writes,
        current_setting('max_connections')::bigint AS connections_max,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
            AS connections,
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now,
        to_regclass('_sqlx_migrations') IS NOT NULL AS is_migrated";

/// Looks at the PostgreSQL at `url`.
pub async fn examine(url: &str, clock: &dyn Clock) -> Vec<Finding> {
    match look(url, clock).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::unusable("postgresql", &error)],
    }
}

async fn look(url: &str, clock: &dyn Clock) -> Result<Vec<Finding>> {
    let options: PgConnectOptions = url.parse().map_err(store_error)?;
    let options = options.application_name("qunliu doctor");
    let mut connection = answer(PgConnection::connect_with(&options)).await?;
    let asking = answer(sqlx::query(FACTS).fetch_one(&mut connection));
    let (row, asked) = Asked::around(clock, asking).await;
    let row = row?;
    let applied = match row.try_get("is_migrated").map_err(store_error)? {
        true => answer(sqlx::query_scalar(migrations::APPLIED).fetch_all(&mut connection)).await?,
        false => Vec::new(),
    };
    connection.close().await.map_err(store_error)?;
    let mut findings = judge(&row, asked).map_err(store_error)?;
    let known = MIGRATIONS.iter().map(|migration| migration.version);
    findings.push(migrations::judge("postgresql schema", known, &applied));
    Ok(findings)
}

fn judge(row: &PgRow, asked: Asked) -> sqlx::Result<Vec<Finding>> {
    Ok(vec![
        version(row.try_get("version")?, row.try_get("version_num")?),
        role(row.try_get("is_replica")?),
        on("postgresql fsync", row.try_get("fsync")?),
        on(
            "postgresql full_page_writes",
            row.try_get("full_page_writes")?,
        ),
        commit(row.try_get("synchronous_commit")?),
        connections(row.try_get("connections_max")?, row.try_get("connections")?),
        Finding::clock(
            "postgresql clock",
            Time::from_millis(row.try_get("now")?),
            asked,
        ),
    ])
}

fn version(version: &str, number: i32) -> Finding {
    let what = "postgresql version";
    match number >= VERSION_TESTED {
        true => Finding::ok(what, version),
        false => Finding::warn(what, version, "15 is the oldest that is tested: upgrade"),
    }
}

fn role(is_replica: bool) -> Finding {
    match is_replica {
        false => Finding::ok("postgresql role", "primary"),
        true => {
            let mend = "name the primary in stores.postgres: a replica knows old rights";
            Finding::fail("postgresql role", "replica", mend)
        }
    }
}

/// A crash without these may corrupt the whole database.
fn on(what: &'static str, value: &str) -> Finding {
    match value {
        "on" => Finding::ok(what, value),
        _ => Finding::fail(what, value, "set it to on in postgresql.conf"),
    }
}

/// Off, an account or a removal that was answered is lost by a crash.
fn commit(value: &str) -> Finding {
    let what = "postgresql synchronous_commit";
    match value {
        "off" => Finding::fail(what, value, "set it to on, for this user or for the server"),
        _ => Finding::ok(what, value),
    }
}

fn connections(most: i64, used: i64) -> Finding {
    let what = "postgresql connections";
    let found = format!("{used} of {most}");
    match most.saturating_sub(used) >= CONNECTIONS {
        true => Finding::ok(what, found),
        false => Finding::warn(what, found, "raise max_connections: a node opens 16"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::finding::Verdict;

    #[test]
    fn what_loses_data_fails_and_what_is_tight_warns() {
        assert_eq!(commit("off").verdict, Verdict::Fail);
        assert_eq!(commit("remote_apply").verdict, Verdict::Ok);
        assert_eq!(on("postgresql fsync", "off").verdict, Verdict::Fail);
        assert_eq!(role(true).verdict, Verdict::Fail);
        assert_eq!(version("13.4", 130_004).verdict, Verdict::Warn);
        assert_eq!(connections(100, 90).verdict, Verdict::Warn);
    }
}
