//! What a page of an old part of a group's history costs MongoDB, beside the bare read of the same
//! events: what a server asks beyond them is its own.
//!
//! `pages SERVER MONGODB PID` fills a group of a fresh server on real stores, then reads it through the
//! server and from the collection, in the order A B B A, and prints what a page of 50 cost the process
//! `PID`. What that process uses while nobody asks is taken off.

#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::error::Error;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, RawDocumentBuf, doc};
use mongodb::{Client, Collection};
use qunliu::cli::load::cpu::used;
use qunliu::cli::load::dial;
use qunliu::cli::load::rest::Node;
use qunliu::clock::every;
use qunliu::model::client_id::ClientId;
use qunliu::model::id::GroupId;
use qunliu::model::position::Position;
use reqwest::Client as Http;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const MESSAGES: u64 = 2_000;
/// Pages begin below this seq: what is above may still be in the live log.
const OLD: u64 = 1_300;
const PAGES: u64 = 2_000;
const PAGE: u64 = 50;
/// Both ask at the same pace: what a read costs a process grows with how long it had nothing to do, and the
/// server has more to do between two of them.
const PERIOD: Duration = Duration::from_millis(5);
const SENDS_AT_ONCE: usize = 16;
const WORDS: &str = "在吗？今天的面还有吗，帮我留两份，晚上七点来取。";

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// A group with a history, and how to read it.
struct Place {
    http: Http,
    events: Collection<RawDocumentBuf>,
    messages: String,
    token: String,
    group: GroupId,
    epoch: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, mongodb, pid] = arguments.as_slice() else {
        return Err("pages SERVER MONGODB PID".into());
    };
    let pid: u32 = pid.parse()?;
    let place = Place::filled(server, mongodb).await?;
    sleep(Duration::from_secs(2)).await;
    let (began, before) = (Instant::now(), used(pid)?);
    sleep(Duration::from_secs(5)).await;
    let idle = (used(pid)? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("| read | us of mongod per page |\n| --- | ---: |");
    for is_bare in [true, false, false, true] {
        let (began, before) = (Instant::now(), used(pid)?);
        let mut turns = every(PERIOD);
        for page in 0..PAGES {
            turns.tick().await;
            // Strides over all beginnings, in no order that a cache would like.
            let after = Position::new(place.epoch, page * 7_919 % OLD);
            let read = match is_bare {
                true => place.bare(after).await?,
                false => place.through_server(after).await?,
            };
            if read != PAGE {
                return Err(format!("{read} events above {after}").into());
            }
        }
        let spent = (used(pid)? - before).as_secs_f64() - idle * began.elapsed().as_secs_f64();
        let name = if is_bare { "bare" } else { "server" };
        println!("| {name} | {:.1} |", spent * 1e6 / PAGES as f64);
    }
    Ok(())
}

impl Place {
    async fn filled(server: &str, mongodb: &str) -> Done<Self> {
        let tls = dial::trust(None)?;
        let node = Node::new(server, &tls)?;
        let owner = node.register("pages", "pages of history", None).await?;
        let token = owner.tokens.access_token;
        let group = node.create_group(&token, "老街面馆 1 群").await?;
        let database = Client::with_uri_str(mongodb).await?;
        let database = database
            .default_database()
            .unwrap_or(database.database("qunliu"));
        let mut place = Self {
            http: Http::builder().tls_backend_preconfigured(tls).build()?,
            events: database.collection("events"),
            messages: format!("{server}/v1/groups/{group}/messages"),
            token,
            group,
            epoch: 0,
        };
        let sends = stream::iter(0..MESSAGES).map(|_| place.send());
        let epochs: Vec<u64> = sends.buffered(SENDS_AT_ONCE).try_collect().await?;
        place.epoch = epochs.last().copied().unwrap_or_default();
        Ok(place)
    }

    /// Sends a message; answers its epoch.
    async fn send(&self) -> Done<u64> {
        let body = json!({
            "client_id": ClientId::random(), "body": {"kind": "text", "text": WORDS},
        });
        let request = self.http.post(&self.messages).bearer_auth(&self.token);
        let answer = request.json(&body).send().await?.error_for_status()?;
        let answer: Value = answer.json().await?;
        answer["pos"][0]
            .as_u64()
            .ok_or_else(|| "no position".into())
    }

    async fn through_server(&self, after: Position) -> Done<u64> {
        let url = format!("{}?after={after}&limit={PAGE}", self.messages);
        let request = self.http.get(url).bearer_auth(&self.token);
        let page: Value = request.send().await?.error_for_status()?.json().await?;
        Ok(page["items"]
            .as_array()
            .map_or(0, |items| items.len() as u64))
    }

    async fn bare(&self, after: Position) -> Done<u64> {
        let id = |pos: Position| Binary {
            subtype: BinarySubtype::Generic,
            bytes: [self.group.as_bytes().as_slice(), &pos.to_bytes()].concat(),
        };
        let newest = Position::new(self.epoch, MESSAGES * 2);
        let range = doc! { "_id": { "$gt": id(after), "$lte": id(newest) } };
        let found = self.events.find(range).sort(doc! { "_id": 1 });
        let found = found.limit(i64::try_from(PAGE)?).await?;
        Ok(found.try_collect::<Vec<_>>().await?.len() as u64)
    }
}
