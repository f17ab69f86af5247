//! `qunliu doctor` on real stores: well, with one setting made wrong, and mended again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mongodb::bson::doc;
use redis::cmd;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use crate::support::certificates::Authority;
use crate::support::folder::Folder;
use crate::support::place::Place;
use crate::support::program::run;
use crate::support::redis::{RedisServer, as_administrator};
use crate::support::server::TestServer;

type Environment = Vec<(String, String)>;

flow!(
    both: [a_deployment_that_serves_is_well],
    embedded: [],
    services: [
        a_setting_of_redis_that_loses_messages_fails_until_it_is_mended,
        a_user_without_rights_to_the_settings_is_told_so_and_nothing_fails,
        a_collection_of_another_make_fails,
        a_postgresql_that_may_lose_commits_or_is_newer_fails,
        a_store_that_is_away_fails_and_the_others_are_looked_at,
    ],
);

/// What was found: verdict, what, found, mend.
struct Found(Vec<Value>);

impl Found {
    /// Asks the program, which must end so.
    async fn by(environment: &Environment, code: i32) -> Self {
        let ended = run(&["doctor", "--json"], environment).await.with(code);
        let lines = ended.out.lines().map(serde_json::from_str);
        Self(lines.collect::<Result<_, _>>().unwrap())
    }

    /// The verdict on one thing, what was found, and what mends it.
    #[track_caller]
    fn of(&self, what: &str) -> (&str, &str, &str) {
        let found = self.0.iter().find(|one| one["what"] == what);
        let found = found.unwrap_or_else(|| panic!("{what} is not in {:?}", self.0));
        let text = |name: &str| found[name].as_str().unwrap();
        (text("verdict"), text("found"), text("mend"))
    }

    #[track_caller]
    fn has(&self, verdict: &str, what: &str, found: &str) {
        let is = self.of(what);
        assert!(is.0 == verdict && is.1.contains(found), "{what}: {is:?}");
        assert_eq!(verdict == "ok", is.2.is_empty(), "{what}: {is:?}");
    }

    /// MongoDB acknowledged a write, in whatever time: one that takes long is warned of.
    #[track_caller]
    fn wrote(&self) {
        let is = self.of("mongodb majority write");
        assert!(is.0 != "fail" && is.1.contains("acknowledged"), "{is:?}");
    }

    /// What failed.
    fn failures(&self) -> Vec<&str> {
        let failed = self.0.iter().filter(|one| one["verdict"] == "fail");
        failed.map(|one| one["what"].as_str().unwrap()).collect()
    }
}

fn value<'a>(environment: &'a Environment, name: &str) -> &'a str {
    let found = environment.iter().find(|(key, _)| key == name);
    &found.unwrap().1
}

fn set(environment: &mut Environment, name: &str, to: impl Into<String>) {
    environment.retain(|(key, _)| key != name);
    environment.push((name.to_owned(), to.into()));
}

async fn served(place: &Place) -> (TestServer, Environment) {
    let server = place.serve(&[]).await;
    let environment = place.environment(&server);
    (server, environment)
}

async fn a_deployment_that_serves_is_well(place: Place) {
    let (_server, mut environment) = served(&place).await;
    as_administrator(&mut environment);
    let found = Found::by(&environment, 0).await;
    assert_eq!(found.failures(), [""; 0]);
    found.has("ok", "configuration", "valid");
    found.has("ok", "secret file", "0600");
    found.has("ok", "certificate", "loopback");
    let well: &[_] = match environment.iter().any(|(name, _)| name.contains("REDIS")) {
        true => &[
            ("redis role", "master"),
            ("redis maxmemory-policy", "noeviction"),
            ("redis appendonly", "yes"),
            ("redis appendfsync", "always"),
            ("redis last write", "ok"),
            ("redis tracking-table-max-keys", " of 1000000"),
            ("redis tracked prefixes", "16"),
            ("redis clock", ""),
            ("mongodb replica set", "rs0, 1 members"),
            ("mongodb collection events", "clustered"),
            ("mongodb collection cursors", "clustered"),
            ("mongodb clock", ""),
            ("postgresql role", "primary"),
            ("postgresql synchronous_commit", "on"),
            ("postgresql schema", " migrations"),
            ("postgresql clock", ""),
        ],
        false => &[
            ("sqlite file", "0600"),
            ("sqlite version", "3."),
            ("sqlite journal_mode", "wal"),
            ("sqlite synchronous", "full"),
            ("sqlite quick_check", "ok"),
            ("sqlite schema", " migrations"),
        ],
    };
    for (what, text) in well {
        found.has("ok", what, text);
    }
    if !place.is_embedded() {
        found.wrote();
    }
    // The same for eyes: verdict, what, found.
    let lines = run(&["doctor"], &environment).await.with(0).out;
    assert!(lines.contains("ok    configuration "), "{lines}");
    assert_eq!(lines.lines().count(), found.0.len());
}

async fn a_setting_of_redis_that_loses_messages_fails_until_it_is_mended(place: Place) {
    let (_server, mut environment) = served(&place).await;
    as_administrator(&mut environment);
    let client = redis::Client::open(value(&environment, "QUNLIU_STORES_REDIS")).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    for (setting, wrong, right) in [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ] {
        let mut change = async |value: &str| {
            let mut set = cmd("CONFIG");
            set.arg("SET").arg(setting).arg(value);
            set.exec_async(&mut raw).await.unwrap();
        };
        change(wrong).await;
        let what = format!("redis {setting}");
        let found = Found::by(&environment, 69).await;
        found.has("fail", &what, wrong);
        let (_, _, mend) = found.of(&what);
        assert!(
            mend.contains(&format!("CONFIG SET {setting} {right}")),
            "{mend}"
        );
        assert_eq!(found.failures(), [what.as_str()]);
        change(right).await;
        Found::by(&environment, 0).await.has("ok", &what, right);
    }
    let mut lax = cmd("CONFIG");
    lax.arg("SET").arg("appendfsync").arg("everysec");
    lax.exec_async(&mut raw).await.unwrap();
    set(&mut environment, "QUNLIU_REDIS_ALLOW_DATA_LOSS", "true");
    let allowed = Found::by(&environment, 0).await;
    allowed.has("warn", "redis appendfsync", "everysec");
}

async fn a_user_without_rights_to_the_settings_is_told_so_and_nothing_fails(place: Place) {
    let (_server, environment) = served(&place).await;
    let found = Found::by(&environment, 0).await;
    found.has("ok", "redis appendfsync", "assured");
    found.has("warn", "redis tracking-table-max-keys", "could not check");
    found.has("ok", "redis maxmemory-policy", "noeviction");
}

async fn a_collection_of_another_make_fails(place: Place) {
    let environment = place.environment_of(Path::new("/nowhere"));
    let client = mongodb::Client::with_uri_str(value(&environment, "QUNLIU_STORES_MONGODB")).await;
    let database = client.unwrap().default_database().unwrap();
    let events = database.collection("events");
    events.insert_one(doc! { "_id": 1 }).await.unwrap();
    let found = Found::by(&environment, 69).await;
    found.has("fail", "mongodb collection events", "not clustered");
    found.has("warn", "mongodb collection cursors", "not there yet");
    found.has("warn", "postgresql schema", "not there yet");
    found.has("warn", "secret file", "not there yet");
    let there = database.list_collection_names().await.unwrap();
    assert_eq!(there, ["events"], "to look makes nothing");
}

async fn a_postgresql_that_may_lose_commits_or_is_newer_fails(place: Place) {
    let (_server, environment) = served(&place).await;
    let url = value(&environment, "QUNLIU_STORES_POSTGRES");
    let (_, name) = url.rsplit_once('/').unwrap();
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut run = async |sql: String| {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        statement.execute(&mut connection).await.unwrap();
    };
    run(format!(
        "ALTER DATABASE {name} SET synchronous_commit = off"
    ))
    .await;
    let found = Found::by(&environment, 69).await;
    found.has("fail", "postgresql synchronous_commit", "off");
    run(format!("ALTER DATABASE {name} RESET synchronous_commit")).await;
    Found::by(&environment, 0).await;
    let newer = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (9999, '', true, '', 0)";
    run(newer.to_owned()).await;
    let found = Found::by(&environment, 69).await;
    found.has("fail", "postgresql schema", "newer program");
}

async fn a_store_that_is_away_fails_and_the_others_are_looked_at(place: Place) {
    let (_server, mut environment) = served(&place).await;
    let Some(mut gone) = RedisServer::start().await else {
        return;
    };
    set(&mut environment, "QUNLIU_STORES_REDIS", gone.url());
    gone.kill();
    let found = Found::by(&environment, 69).await;
    assert_eq!(found.failures(), ["redis"]);
    found.wrote();
    found.has("ok", "postgresql fsync", "on");
}

/// The environment of embedded stores in `folder`.
fn embedded(folder: &Folder) -> Environment {
    let data = folder.file().parent().unwrap().display().to_string();
    vec![("QUNLIU_SERVER_DATA".to_owned(), data)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_start_nothing_fails_and_nothing_is_made() {
    let folder = Folder::new();
    let found = Found::by(&embedded(&folder), 0).await;
    found.has("warn", "sqlite file", "not there yet");
    found.has("warn", "secret file", "not there yet");
    let data = folder.file().parent().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_or_exposed_file_is_told() {
    let mut server = TestServer::start().await;
    let data = server.data();
    let environment = vec![("QUNLIU_SERVER_DATA".to_owned(), data.display().to_string())];
    server.stop(std::time::Duration::from_secs(10)).await;
    let file = data.join("qunliu.sqlite");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let found = Found::by(&environment, 0).await;
    found.has("warn", "sqlite file", "0644");
    // Nothing may be left beside the file: its last connection ends in a thread of its own.
    let mut connection = SqliteConnectOptions::new()
        .filename(&file)
        .connect()
        .await
        .unwrap();
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
    checkpoint.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    // All but the first page, which says that it is a database and what is in it.
    bytes[8192..].fill(0x5a);
    std::fs::write(&file, bytes).unwrap();
    let found = Found::by(&environment, 69).await;
    let damage = found.failures();
    assert!(
        damage.iter().all(|what| what.starts_with("sqlite")),
        "{damage:?}"
    );
    assert!(!damage.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_or_exposed_secret_and_an_ended_certificate_fail() {
    let folder = Folder::new();
    let mut environment = embedded(&folder);
    let secret = folder.file().with_file_name("secret.key");
    for (text, mode, why) in [
        ("hunter2 hunter2", 0o600, "64 random hex digits"),
        (
            "0f1e2d3c4b5a69788796a5b4c3d2e1f0aabbccddeeff00112233445566778899",
            0o640,
            "chmod 600",
        ),
    ] {
        std::fs::write(&secret, text).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = Found::by(&environment, 69).await;
        found.has("fail", "secret file", why);
        assert!(
            found.0.iter().all(|one| !one.to_string().contains(text)),
            "never echoed"
        );
    }
    std::fs::remove_file(&secret).unwrap();
    let authority = Authority::new();
    for (name, file) in [("CERT", authority.certificate()), ("KEY", authority.key())] {
        let file = file.display().to_string();
        set(&mut environment, &format!("QUNLIU_HTTP_TLS_{name}"), file);
    }
    Found::by(&environment, 0)
        .await
        .has("ok", "certificate", "good until");
    authority.renew_until(2026);
    let found = Found::by(&environment, 69).await;
    found.has("fail", "certificate", "2026-01-01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_configuration_is_the_one_thing_that_is_told() {
    let environment = vec![("QUNLIU_SERVER_LISTNE".to_owned(), "x".to_owned())];
    let found = Found::by(&environment, 69).await;
    found.has("fail", "configuration", "did you mean");
    assert_eq!(found.0.len(), 1);
}
