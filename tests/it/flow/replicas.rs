//! Lists of people from a real streaming replica of PostgreSQL: while it keeps up, and when it is
//! behind, gone, or was told of nothing yet. Nobody is listed who was put out before, and everybody
//! sees what they did themselves.

use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::support::eventually;
use crate::support::folder::Folder;
use crate::support::server::{Person, TestServer};
use crate::support::services::{Service, Services};
use crate::support::socket::DEADLINE;

/// A group of three on services of its own, with a replica.
struct Place {
    server: TestServer,
    owner: Person,
    ann: Person,
    ben: Person,
    group: String,
    primary: PgConnectOptions,
    replica: PgConnectOptions,
    _folder: Folder,
    services: Services,
}

impl Place {
    /// With replicas that may be so far behind.
    async fn open(lag_ms_max: &str) -> Option<Self> {
        let services = Services::start()?;
        let url = services.replicate();
        let folder = Folder::new();
        let secret = folder.file().with_file_name("secret.key");
        let mut keys = services.environment();
        let named = |(name, url): &(String, String)| {
            (name == "QUNLIU_STORES_POSTGRES").then(|| url.parse().unwrap())
        };
        let primary = keys.iter().find_map(named).unwrap();
        keys.push(("QUNLIU_STORES_POSTGRES_REPLICAS".to_owned(), url.clone()));
        keys.push((
            "QUNLIU_POSTGRES_REPLICA_LAG_MS_MAX".to_owned(),
            lag_ms_max.to_owned(),
        ));
        keys.push((
            "QUNLIU_AUTH_SECRET_FILE".to_owned(),
            secret.display().to_string(),
        ));
        let keys: Vec<_> = keys
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let server = TestServer::start_with(&keys).await;
        let owner = server.register("li.lei").await;
        let ann = server.register("ann").await;
        let ben = server.register("ben").await;
        let group = owner.found("老街面馆 1 群", &[&ann, &ben]).await;
        Some(Self {
            server,
            owner,
            ann,
            ben,
            group,
            primary,
            replica: url.parse().unwrap(),
            _folder: folder,
            services,
        })
    }

    /// The ids of the members that `viewer` is listed.
    async fn listed(&self, viewer: &Person) -> Vec<String> {
        let page = viewer
            .client
            .get(&format!("{}/members", self.group))
            .await
            .ok();
        let items = page["items"].as_array().unwrap().iter();
        let id = |item: &Value| item["user"]["id"].as_str().unwrap().to_owned();
        items.map(id).collect()
    }

    /// A value on the page of metrics.
    async fn metric(&self, line: &str) -> f64 {
        let page = self.server.operator().get("/metrics").await.text;
        let value = page.lines().find_map(|found| found.strip_prefix(line));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// How many reads ended so.
    async fn reads(&self, result: &str) -> f64 {
        self.metric(&format!(
            "qunliu_replica_reads_total{{result=\"{result}\"}}"
        ))
        .await
    }

    async fn lag(&self) -> f64 {
        self.metric("qunliu_replica_lag_seconds{replica=\"1\"}")
            .await
    }

    /// From now on the replica shows what was committed five seconds ago.
    async fn delay(&self) {
        let delay = "ALTER SYSTEM SET recovery_min_apply_delay = '5s'";
        run(&self.replica, delay).await;
        run(&self.replica, "SELECT pg_reload_conf()").await;
        let delay = async || {
            let shown = sqlx::query_scalar::<_, String>("SHOW recovery_min_apply_delay");
            let mut connection = self.replica.connect().await.unwrap();
            shown.fetch_one(&mut connection).await.unwrap() == "5s"
        };
        eventually(DEADLINE, delay).await;
    }

    /// Waits until lists of this person come from the replica.
    async fn served_by_the_replica(&self, viewer: &Person) {
        eventually(DEADLINE, async || {
            let before = self.reads("replica").await;
            let listed = self.listed(viewer).await;
            assert!(listed.contains(&viewer.id), "{listed:?}");
            // The members, and their names.
            self.reads("replica").await == before + 2.0
        })
        .await;
    }
}

async fn run(server: &PgConnectOptions, sql: &'static str) {
    let mut connection = server.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_keeps_up_is_read_and_one_that_does_not_is_passed_over() {
    let Some(place) = Place::open("2000").await else {
        return;
    };
    place.served_by_the_replica(&place.ann).await;
    eventually(DEADLINE, async || place.lag().await < 2.0).await;
    // Behind by more than it may be.
    place.delay().await;
    eventually(DEADLINE, async || {
        // Only what is written makes a replica late.
        place
            .server
            .register(&format!("x{}", uuid::Uuid::new_v4().simple()))
            .await;
        place.lag().await > 2.0
    })
    .await;
    let (served, away) = (place.reads("replica").await, place.reads("away").await);
    assert_eq!(place.listed(&place.ann).await.len(), 3);
    assert_eq!(place.reads("replica").await, served);
    assert_eq!(place.reads("away").await, away + 2.0);
    // Gone.
    place.services.kill(Service::Replica);
    eventually(DEADLINE, async || place.lag().await >= 60.0).await;
    let away = place.reads("away").await;
    assert_eq!(place.listed(&place.ann).await.len(), 3);
    assert_eq!(place.reads("replica").await, served);
    assert_eq!(place.reads("away").await, away + 2.0, "nobody waits for it");
}

#[tokio::test]
async fn five_seconds_behind_a_replica_shows_nobody_who_was_put_out_and_hides_no_own_change() {
    let Some(place) = Place::open("60000").await else {
        return;
    };
    place.served_by_the_replica(&place.ann).await;
    place.delay().await;
    // One's own change, from the moment on at which it is answered.
    let dan = place.server.register("dan").await;
    let members = format!("{}/members", place.group);
    let added = serde_json::json!({"users": [dan.id]});
    place.owner.client.post(&members, &added).await.created();
    assert!(place.listed(&place.owner).await.contains(&dan.id));
    // Somebody else's: who is put out is in no list that is asked for afterwards.
    let behind = place.reads("behind").await;
    let member = format!("{members}/{}", place.ben.id);
    place.owner.client.delete(&member).await.no_content();
    let mut left = [&place.owner, &place.ann, &dan].map(|person| person.id.clone());
    left.sort();
    // Until the replica was asked, and found behind.
    eventually(DEADLINE, async || {
        let mut listed = place.listed(&place.ann).await;
        listed.sort();
        // Nobody is missing either whose name has not come to the replica yet.
        assert_eq!(listed, left);
        place.reads("behind").await > behind
    })
    .await;
    assert_eq!(place.ben.client.get(&members).await.status, 404);
    // The replica serves again once it knows.
    place.served_by_the_replica(&place.ann).await;
    assert!(!place.listed(&place.ann).await.contains(&place.ben.id));
}

#[tokio::test]
async fn while_a_change_is_decided_and_not_noted_the_primary_is_asked() {
    let Some(place) = Place::open("60000").await else {
        return;
    };
    place.served_by_the_replica(&place.ann).await;
    // As if the first change of the group were on its way to the log, and not due yet.
    let unnoted = "UPDATE outbox SET epoch = NULL, seq = NULL, decided_at = 9000000000000
         WHERE decision = (SELECT min(decision) FROM outbox)";
    run(&place.primary, unnoted).await;
    eventually(DEADLINE, async || {
        let behind = place.reads("behind").await;
        assert_eq!(place.listed(&place.ann).await.len(), 3);
        place.reads("behind").await > behind
    })
    .await;
}

#[tokio::test]
async fn what_is_no_replica_any_more_is_passed_over() {
    let Some(place) = Place::open("60000").await else {
        return;
    };
    place.served_by_the_replica(&place.ann).await;
    run(&place.replica, "SELECT pg_promote()").await;
    // It has all that was written, and is told to know nothing.
    eventually(DEADLINE, async || place.lag().await >= 60.0).await;
    let served = place.reads("replica").await;
    assert_eq!(place.listed(&place.ann).await.len(), 3);
    assert_eq!(place.reads("replica").await, served);
}
