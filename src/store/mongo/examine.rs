//! A look at a MongoDB before it is trusted. What is fit is decided in [`fitness`], as at the
//! start of a server. Nothing is made; the one write removes what is not there.

use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use tokio::time::Instant;

use super::connect::{Options, client_options, database_name, is_clustered};
use super::database::{Db, close};
use super::failure::failed;
use super::fitness::{self, ask, judge_kind, judge_version};
use super::layout::{CURSORS, DEAD_LETTERS, EVENTS};
use crate::clock::Clock;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::finding::{Asked, Finding};

/// A majority that takes longer than this is far away or busy.
const MAJORITY_WITHIN: Duration = Duration::from_millis(500);

/// Looks at the MongoDB at `url`.
pub async fn examine(url: &str, options: &Options, clock: &dyn Clock) -> Vec<Finding> {
    match look(url, options, clock).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::unusable("mongodb", &error)],
    }
}

async fn look(url: &str, options: &Options, clock: &dyn Clock) -> Result<Vec<Finding>> {
    let parsed = client_options(url, options).await?;
    let client = Client::with_options(parsed.clone()).map_err(failed)?;
    let deadline = Duration::from_millis(options.call_ms_max);
    let found = async {
        // It also finds out why a server that is no replica set does not answer as one.
        fitness::check(&client, &parsed, deadline).await?;
        let (hello, asked) = Asked::around(clock, ask(&client, "hello", deadline)).await;
        let (hello, build) = (hello?, ask(&client, "buildInfo", deadline).await?);
        let db = Db::new(client.database(database_name(&parsed)), deadline);
        Ok(vec![
            version(&build),
            replica_set(&hello, parsed.repl_set_name.as_deref()),
            majority(&db).await,
            collection("mongodb collection events", &db, EVENTS).await,
            collection("mongodb collection cursors", &db, CURSORS).await,
            time(&hello, asked),
        ])
    };
    let found = found.await;
    close(client).await;
    found
}

fn version(build: &Document) -> Finding {
    let version = build.get_str("version").unwrap_or("unknown");
    Finding::of("mongodb version", version, judge_version(build))
}

fn replica_set(hello: &Document, wanted: Option<&str>) -> Finding {
    let set = hello.get_str("setName").unwrap_or("a router");
    let members = hello.get_array("hosts").map_or(0, Vec::len);
    let found = format!("{set}, {members} members");
    Finding::of("mongodb replica set", found, judge_kind(hello, wanted))
}

/// A write that changes nothing still waits until a majority has all that was written before.
async fn majority(db: &Db) -> Finding {
    let what = "mongodb majority write";
    let letters = db.collection(DEAD_LETTERS);
    let began = Instant::now();
    let written = db.call(letters.delete_one(doc! { "_id": "" })).await;
    let took = began.elapsed();
    let found = format!("acknowledged in {} ms", took.as_millis());
    match written {
        Ok(_) if took <= MAJORITY_WITHIN => Finding::ok(what, found),
        Ok(_) => Finding::warn(what, found, "is a member slow, far away or catching up?"),
        Err(error) => Finding::unusable(what, &error),
    }
}

async fn collection(what: &'static str, db: &Db, name: &str) -> Finding {
    match is_clustered(db, name).await {
        Ok(Some(true)) => Finding::ok(what, "clustered"),
        Ok(Some(false)) => {
            let mend = "it was not made by Qunliu: move it away, or name another database";
            Finding::fail(what, "not clustered", mend)
        }
        Ok(None) => Finding::warn(what, "not there yet", "nothing: the first start makes it"),
        Err(error) => Finding::unusable(what, &error),
    }
}

fn time(hello: &Document, asked: Asked) -> Finding {
    let what = "mongodb clock";
    match hello.get_datetime("localTime") {
        Ok(time) => Finding::clock(what, Time::from_millis(time.timestamp_millis()), asked),
        Err(error) => Finding::unseen(what, error),
    }
}
