//! Dead letters as an operator meets them: the program lists and replays them beside a server.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use qunliu::config::Config;
use qunliu::config::{Environment, Flags};
use qunliu::model::event::{Content, Entry};
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use qunliu::pipeline::replay::Replay;
use qunliu::server;
use qunliu::store::consumers::Consumer;
use qunliu::store::dead_letters::LetterId;
use serde_json::{Value, json};
use sqlx::SqlitePool;

use crate::support::place::Place;
use crate::support::process::wait_for;
use crate::support::program::{Ended, run};
use crate::support::sample::{AT, entry, user};
use crate::support::scene::Scene;
use crate::support::socket::text;

flow!(
    a_lost_message_is_there_again_after_a_replay,
    what_cannot_be_replayed_stays_and_says_why,
    letters_are_listed_by_consumer_and_group,
);

/// The position of the first message of a scene.
const POS: Position = Position::new(1, 3);

/// A scene whose messages are read from the message store, and the environment of a program
/// beside its server.
struct Stage {
    scene: Scene,
    environment: Vec<(String, String)>,
    group: GroupId,
}

impl Stage {
    async fn on(place: &Place) -> Self {
        let scene = Scene::with(place, &[("QUNLIU_REDIS_IDLE_MS", "1")]).await;
        let environment = place.environment(&scene.server);
        let group = scene.group.parse().unwrap();
        Self {
            scene,
            environment,
            group,
        }
    }

    /// The owner says 在吗 at [`POS`], and it is stored: until then a page shows it from the log.
    async fn say(&self) {
        let mut owner = self.scene.socket(&self.scene.owner, "web-1").await;
        owner.ask(&text(&self.scene.group, "在吗")).await;
        let is_stored = |frame: &Value| frame["type"] == "stored" && frame["pos"] == json!(POS);
        owner.take(is_stored).await;
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let all = [&["dead-letters"], arguments].concat();
        run(&all, &self.environment).await
    }

    /// The event at [`POS`], as a member's page shows it.
    async fn shown(&self) -> Value {
        let path = format!("{}/messages?after=1-2", self.scene.path());
        let page = self.scene.member.client.get(&path).await.ok();
        page["items"][0].clone()
    }

    async fn shows(&self, kind: &str) {
        wait_for(kind, async || {
            (self.shown().await["kind"] == kind).then_some(())
        })
        .await;
    }

    async fn with_stores<T>(&self, work: impl AsyncFnOnce(Replay) -> T) -> T {
        let pairs = self.environment.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let config = Config::load(None, &Environment::of(&pairs), &Flags::default());
        server::with_replay(&config.unwrap(), work).await.unwrap()
    }

    const fn letter(&self, consumer: Consumer, pos: Position) -> LetterId {
        LetterId {
            consumer,
            group: self.group,
            pos,
        }
    }

    async fn keep(&self, id: LetterId, payload: &[u8]) {
        self.with_stores(async |stores: Replay| {
            let kept = stores
                .dead_letters
                .keep(id, AT, payload, "it was\nunreadable");
            kept.await.unwrap();
        })
        .await;
    }

    /// Puts the event at [`POS`] aside as `persist` does; answers it.
    async fn bury(&self) -> Entry {
        let real = self
            .with_stores(async |stores: Replay| {
                let range = stores
                    .messages
                    .range(self.group, Position::new(1, 2), Some(POS), 1);
                range.await.unwrap().remove(0)
            })
            .await;
        self.take_away().await;
        let lost = entry(POS, user(), real.client_id, Content::Lost {});
        self.with_stores(async |stores: Replay| {
            stores.messages.insert(&[(self.group, lost)]).await.unwrap();
        })
        .await;
        let mut payload = Vec::new();
        real.write_json(&mut payload);
        for consumer in Consumer::ALL {
            self.keep(self.letter(*consumer, POS), &payload).await;
        }
        real
    }

    /// Removes the event at [`POS`] from the message store.
    async fn take_away(&self) {
        let value = |name: &str| {
            let found = self.environment.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let id = [*self.group.as_bytes(), POS.to_bytes()].concat();
        if let Some(url) = value("QUNLIU_STORES_MONGODB") {
            let client = Client::with_uri_str(url).await.unwrap();
            let events = client
                .default_database()
                .unwrap()
                .collection::<Document>("events");
            let id = mongodb::bson::Binary {
                subtype: mongodb::bson::spec::BinarySubtype::Generic,
                bytes: id,
            };
            let gone = events.delete_one(doc! { "_id": id }).await.unwrap();
            assert_eq!(gone.deleted_count, 1);
        } else {
            let data = value("QUNLIU_SERVER_DATA").unwrap();
            let file = SqlitePool::connect(&format!("sqlite:{data}/qunliu.sqlite"))
                .await
                .unwrap();
            let gone = sqlx::query("DELETE FROM events WHERE group_id = ?1 AND seq = 3")
                .bind(self.group.as_bytes().as_slice())
                .execute(&file);
            assert_eq!(gone.await.unwrap().rows_affected(), 1);
            file.close().await;
        }
    }
}

async fn a_lost_message_is_there_again_after_a_replay(place: Place) {
    let stage = Stage::on(&place).await;
    stage.say().await;
    stage.bury().await;
    stage.shows("lost").await;
    let id = stage.letter(Consumer::Persist, POS).to_string();
    let replayed = stage.run(&["replay", &id]).await.with(0);
    assert_eq!(replayed.out, format!("{id}  handled, and taken away\n"));
    let shown = stage.shown().await;
    assert_eq!(shown["body"]["text"], "在吗");
    assert_eq!(
        (&shown["pos"], &shown["count"]),
        (&json!([1, 3]), &json!(1))
    );
    // Its letter is gone; the other consumer's is still there, and goes with all the rest.
    stage.run(&["replay", &id]).await.with(64);
    let all = stage.run(&["replay", "--all"]).await.with(0);
    assert_eq!(all.out.lines().count(), 1, "{all:?}");
    assert!(all.out.starts_with("unread/"), "{all:?}");
    assert_eq!(stage.run(&["list"]).await.with(0).out, "");
}

async fn what_cannot_be_replayed_stays_and_says_why(place: Place) {
    let stage = Stage::on(&place).await;
    stage.say().await;
    let mut other = Vec::new();
    let content = crate::support::sample::text("别的");
    let unlike = entry(
        POS,
        user(),
        qunliu::model::client_id::ClientId::random(),
        content,
    );
    unlike.write_json(&mut other);
    let letters = [
        (
            stage.letter(Consumer::Persist, POS),
            &other[..],
            "another event stands",
        ),
        (
            stage.letter(Consumer::Unread, POS),
            b"\xff",
            "no event of this version",
        ),
        (
            stage.letter(Consumer::Unread, Position::new(1, 4)),
            b"",
            "nothing is known",
        ),
    ];
    for (id, payload, _) in letters {
        stage.keep(id, payload).await;
    }
    let all = stage.run(&["replay", "--all"]).await.with(69);
    for (id, _, why) in letters {
        let line = all
            .out
            .lines()
            .find(|line| line.starts_with(&id.to_string()));
        let line = line.unwrap_or_else(|| panic!("{id} is not in {all:?}"));
        assert!(line.contains("stays") && line.contains(why), "{line}");
    }
    assert!(all.err.contains("3 of the letters stay"), "{all:?}");
    assert_eq!(
        stage.shown().await["body"]["text"],
        "在吗",
        "it stands as it stood"
    );
    assert_eq!(stage.run(&["list"]).await.with(0).out.lines().count(), 3);
}

async fn letters_are_listed_by_consumer_and_group(place: Place) {
    let stage = Stage::on(&place).await;
    for consumer in Consumer::ALL {
        for seq in [7, 8] {
            stage
                .keep(stage.letter(*consumer, Position::new(1, seq)), b"?")
                .await;
        }
    }
    let lines = async |arguments: &[&str]| {
        let listed = stage.run(&[&["list"], arguments].concat()).await.with(0);
        listed.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = lines(&[]).await;
    assert_eq!(all.len(), 4, "{all:?}");
    let group = stage.group;
    let first = format!("persist/{group}/1-7  {AT}  1 bytes  it was\\nunreadable");
    assert!(all.contains(&first), "{all:?} lacks {first}");
    assert_eq!(lines(&["--consumer", "unread"]).await.len(), 2);
    assert_eq!(lines(&["--limit", "3"]).await.len(), 3);
    let stranger = GroupId::generate(AT).to_string();
    assert!(lines(&["--group", &stranger]).await.is_empty());
    let json = lines(&["--json", "--group", &group.to_string(), "--limit", "1"]).await;
    let json: Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(json["consumer"], "persist");
    assert_eq!((&json["pos"], &json["bytes"]), (&json!([1, 7]), &json!(1)));
    assert_eq!(json["reason"], "it was\nunreadable");
    stage.run(&["list", "--consumer", "nobody"]).await.with(64);
    stage.run(&["replay"]).await.with(64);
}
