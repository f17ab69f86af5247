//! What a server refuses to start on, asked of the program itself: 64 for what the operator wrote,
//! 69 for a store that would break a promise, each with what to do about it.

use std::os::unix::fs::PermissionsExt as _;

use mongodb::bson::doc;
use redis::cmd;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::support::env;
use crate::support::folder::Folder;
use crate::support::node::House;
use crate::support::place::Place;
use crate::support::process::wait_for;
use crate::support::program::{Ended, run};
use crate::support::redis::{as_administrator, free_port};
use crate::support::server::TestServer;
use crate::support::service;

type Environment = Vec<(String, String)>;

flow!(
    both: [],
    embedded: [],
    services: [
        a_redis_that_loses_what_it_accepted_is_refused_unless_that_is_accepted,
        a_redis_that_drops_what_it_accepted_is_refused_whatever_is_accepted,
        a_mongodb_that_another_program_filled_is_refused,
        a_postgresql_of_a_newer_program_is_refused,
    ],
);

/// Starts a server, which must not begin to serve.
async fn refused(arguments: &[&str], environment: &Environment, code: i32) -> Ended {
    let free = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let ended = run(&[&free, arguments].concat(), environment).await;
    assert_eq!(ended.out, "", "it began to serve");
    ended.with(code)
}

#[track_caller]
fn names(ended: &Ended, words: &[&str]) {
    for word in words {
        assert!(ended.err.contains(word), "{word}: {}", ended.err);
    }
}

/// The environment of embedded stores in `folder`.
fn embedded(folder: &Folder) -> Environment {
    let data = folder.file().parent().unwrap().display().to_string();
    vec![("QUNLIU_SERVER_DATA".to_owned(), data)]
}

fn in_redis(environment: &Environment) -> redis::Client {
    let url = environment
        .iter()
        .find(|(name, _)| name.ends_with("_REDIS"));
    redis::Client::open(url.unwrap().1.as_str()).unwrap()
}

async fn set(client: &redis::Client, setting: &str, value: &str) {
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = cmd("CONFIG");
    set.arg("SET").arg(setting).arg(value);
    set.exec_async(&mut raw).await.unwrap();
}

async fn a_redis_that_loses_what_it_accepted_is_refused_unless_that_is_accepted(place: Place) {
    let folder = Folder::new();
    let mut environment = place.environment_of(folder.file().parent().unwrap());
    as_administrator(&mut environment);
    let client = in_redis(&environment);
    for (setting, wrong, right) in [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
    ] {
        set(&client, setting, wrong).await;
        let ended = refused(&[], &environment, 69).await;
        names(&ended, &[setting, wrong, "CONFIG SET"]);
        let house = House::new(environment.clone());
        let mut node = house.start_with("lax", &["--i-accept-data-loss"]).await;
        let log = house.file("lax.log");
        wait_for("it warns", async || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("may lose messages").then_some(())
        })
        .await;
        node.kill().await;
        set(&client, setting, right).await;
    }
}

async fn a_redis_that_drops_what_it_accepted_is_refused_whatever_is_accepted(place: Place) {
    let folder = Folder::new();
    let mut environment = place.environment_of(folder.file().parent().unwrap());
    as_administrator(&mut environment);
    set(&in_redis(&environment), "maxmemory-policy", "allkeys-lru").await;
    for flags in [&[][..], &["--i-accept-data-loss"]] {
        let ended = refused(flags, &environment, 69).await;
        names(&ended, &["allkeys-lru", "noeviction"]);
    }
}

async fn a_mongodb_that_another_program_filled_is_refused(place: Place) {
    let folder = Folder::new();
    let environment = place.environment_of(folder.file().parent().unwrap());
    let url = environment
        .iter()
        .find(|(name, _)| name.ends_with("_MONGODB"));
    let client = mongodb::Client::with_uri_str(&url.unwrap().1)
        .await
        .unwrap();
    let events = client.default_database().unwrap().collection("events");
    events.insert_one(doc! { "_id": 1 }).await.unwrap();
    let ended = refused(&[], &environment, 69).await;
    names(&ended, &["events", "not clustered", "another database"]);
}

async fn a_postgresql_of_a_newer_program_is_refused(place: Place) {
    let server = place.serve(&[]).await;
    let environment = place.environment(&server);
    let url = environment
        .iter()
        .find(|(name, _)| name.ends_with("_POSTGRES"));
    let mut connection = PgConnection::connect(&url.unwrap().1).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (9999, '', true, '', 0)";
    let newer = sqlx::raw_sql(AssertSqlSafe(newer.to_owned()));
    newer.execute(&mut connection).await.unwrap();
    names(&refused(&[], &environment, 69).await, &["9999"]);
}

/// The program of the MongoDB that the tests share, started without `--replSet`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mongodb_without_a_replica_set_is_refused() {
    let Some(pid) = service("QUNLIU_TEST_MONGODB_PID") else {
        return;
    };
    let folder = Folder::new();
    let home = folder.file().with_file_name("mongo");
    std::fs::create_dir(&home).unwrap();
    let port = free_port();
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let _alone = tokio::process::Command::new(program)
        .args([
            "--bind_ip",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--dbpath",
        ])
        .arg(&home)
        .arg("--nounixsocket")
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = format!("mongodb://127.0.0.1:{port}/q");
    let asked = mongodb::Client::with_uri_str(format!("{url}?directConnection=true")).await;
    let asked = asked.unwrap().database("admin");
    wait_for("it answers", async || {
        asked.run_command(doc! { "ping": 1 }).await.ok()
    })
    .await;
    let mut environment = embedded(&folder);
    for (name, url) in [
        ("MONGODB", url),
        ("REDIS", env("QUNLIU_TEST_REDIS").unwrap()),
        ("POSTGRES", env("QUNLIU_TEST_POSTGRES").unwrap()),
    ] {
        environment.push((format!("QUNLIU_STORES_{name}"), url));
    }
    let ended = refused(&["--i-accept-data-loss"], &environment, 69).await;
    names(&ended, &["standalone", "--replSet"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_known_or_exposed_secret_is_refused_and_never_echoed() {
    let folder = Folder::new();
    let environment = embedded(&folder);
    let secret = folder.file().with_file_name("secret.key");
    let good = "8f14e45fceea167a5a36dedd4bea2543c9f0f895fb98ab9159f51fd0297e236d";
    let counted: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
    let repeated = "0123456789abcdef".repeat(4);
    for (text, mode) in [
        ("", 0o600),
        ("secret", 0o600),
        (&good[2..], 0o600),
        (&repeated, 0o600),
        (&counted, 0o600),
        (good, 0o640),
        (good, 0o604),
    ] {
        std::fs::write(&secret, text).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let ended = refused(&[], &environment, 64).await;
        names(&ended, &["secret.key"]);
        assert!(
            text.is_empty()
                || !ended
                    .err
                    .replace("secret file", "")
                    .replace("secret.key", "")
                    .contains(text),
            "{ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_or_of_a_newer_program_is_refused() {
    let mut server = TestServer::start().await;
    let data = server.data();
    server.stop(std::time::Duration::from_secs(10)).await;
    let environment = vec![("QUNLIU_SERVER_DATA".to_owned(), data.display().to_string())];
    let file = data.join("qunliu.sqlite");
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time) VALUES (9999, '', 1, '', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    names(&refused(&[], &environment, 69).await, &["9999"]);
    std::fs::write(&file, [b'x'; 8192]).unwrap();
    for rest in ["qunliu.sqlite-wal", "qunliu.sqlite-shm"] {
        drop(std::fs::remove_file(data.join(rest)));
    }
    names(&refused(&[], &environment, 69).await, &["not a database"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_and_a_wrong_value_are_refused_by_their_name() {
    for (name, value, words) in [
        (
            "QUNLIU_SERVER_LISTNE",
            "x",
            &["server.listne", "server.listen"][..],
        ),
        (
            "QUNLIU_REDIS_CONNECTIONS",
            "0",
            &["redis.connections", "1 to 64"],
        ),
        (
            "QUNLIU_STORES_REDIS",
            "redis://:hunter2@127.0.0.1/",
            &["stores"],
        ),
    ] {
        let environment = vec![(name.to_owned(), value.to_owned())];
        let ended = refused(&[], &environment, 64).await;
        names(&ended, words);
        assert!(!ended.err.contains("hunter2"), "{}", ended.err);
    }
}

/// What a port scan of a default start finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_listens_on_the_two_loopback_ports_that_it_announces_and_on_no_other() {
    let house = House::new(Vec::new());
    let node = house.start("alone").await;
    let listening = listening(node.pid());
    let announced =
        [&node.url, &node.admin].map(|url| url.trim_start_matches("http://").to_owned());
    assert_eq!(listening.len(), 2, "{listening:?}");
    for address in &announced {
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        assert!(listening.contains(address), "{address} of {listening:?}");
    }
}

/// The addresses on which a process listens, as Linux tells them.
fn listening(pid: u32) -> Vec<String> {
    const LISTEN: &str = "0A";
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<_> = open
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| link.to_str().map(str::to_owned))
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(table) = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        for line in table.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (address, state, inode) = (words[1], words[3], words[9]);
            if state == LISTEN && open.contains(&format!("socket:[{inode}]")) {
                found.push(readable(address));
            }
        }
    }
    found
}

/// `0100007F:1F90` is 127.0.0.1:8080; one of IPv6 stays as it is.
fn readable(address: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    match u32::from_str_radix(host, 16) {
        Ok(host) => format!("{}:{port}", std::net::Ipv4Addr::from(host.swap_bytes())),
        Err(_) => format!("[{host}]:{port}"),
    }
}
