//! What MongoDB as a place promises, beside the contracts: starting again, refusing what is
//! unfit, never hanging.

use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::doc;
use qunliu::model::id::Partition;
use qunliu::store::StoreError;
use qunliu::store::epochs::{Fence, Stamp};
use qunliu::store::mongo::connect::{MongoStores, Options};

use crate::support::mongo::Place;
use crate::support::sample::{at, group, message};

/// Short limits, so that what must end ends soon; for a server that is there they are too short.
const HASTY: Options = Options {
    pool_connections_max: 4,
    selection_ms_max: 300,
    call_ms_max: 600,
};

/// Every cause of an error as one text.
fn causes(error: &StoreError) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        text = format!("{text}{error}\n");
        next = error.source();
    }
    text
}

async fn refusal(url: &str, options: &Options) -> StoreError {
    let connected = MongoStores::connect(url, options).await;
    connected.err().unwrap()
}

#[tokio::test]
async fn nodes_start_at_once_and_again_on_one_database() {
    let Some(place) = Place::new() else { return };
    let options = Options::default();
    let url = place.url();
    let first = tokio::join!(
        MongoStores::connect(&url, &options),
        MongoStores::connect(&url, &options),
        MongoStores::connect(&url, &options),
    );
    let (group, entry) = (group(), message(at(1, 1), "在吗"));
    let batch = [(group, entry.clone())];
    first.0.unwrap().messages.insert(&batch).await.unwrap();
    first.1.unwrap();
    first.2.unwrap();
    let again = MongoStores::connect(&url, &options).await.unwrap();
    let kept = again.messages.range(group, at(0, 0), None, 9).await;
    assert_eq!(kept.unwrap(), [entry]);
}

#[tokio::test]
async fn stores_that_were_closed_do_not_answer() {
    let Some(place) = Place::new() else { return };
    let stores = MongoStores::connect(&place.url(), &Options::default()).await;
    let stores = stores.unwrap();
    let epochs = stores.epochs.clone();
    stores.close().await;
    let error = epochs.tables(&[group()]).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_collection_of_another_make_is_refused() {
    let Some(place) = Place::new() else { return };
    let client = Client::with_uri_str(place.url()).await.unwrap();
    let database = client.default_database().unwrap();
    database.create_collection("events").await.unwrap();
    let error = refusal(&place.url(), &Options::default()).await;
    assert!(!error.is_transient(), "{error:?}");
    assert!(causes(&error).contains("not clustered"), "{error:?}");
}

#[tokio::test]
async fn an_address_with_the_name_of_another_set_is_refused() {
    let Some(place) = Place::new() else { return };
    let client = Client::with_uri_str(place.url()).await.unwrap();
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let set = hello.get_str("setName").unwrap();
    let url = place.url();
    let (base, _) = url.split_once('?').unwrap();
    let patient = Options {
        selection_ms_max: 3_000,
        ..HASTY
    };
    let error = refusal(&format!("{base}?replicaSet=other"), &patient).await;
    assert!(!error.is_transient(), "{error:?}");
    let causes = causes(&error);
    assert!(causes.contains(set) && causes.contains("other"), "{causes}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let error = refusal("mongo:/nowhere", &HASTY).await;
    assert!(!error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = refusal(&format!("mongodb://{address}/"), &HASTY).await;
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_unavailable_within_the_deadlines() {
    // It takes connections and says nothing, as a stopped process does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let begun = Instant::now();
    let error = refusal(&format!("mongodb://{address}/"), &HASTY).await;
    assert!(error.is_transient(), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_fence_is_stamped_only_over_the_number_and_epoch_that_stand() {
    let Some(place) = Place::new() else { return };
    let (url, options) = (place.url(), Options::default());
    let epochs = MongoStores::connect(&url, &options).await.unwrap().epochs;
    let (one, other) = (Partition(1), Partition(2));
    let fence = Fence {
        epoch: 3,
        history: "h".to_owned(),
    };
    for partition in [one, other] {
        epochs.raise(partition, None, &fence).await.unwrap();
    }
    let stamp = |partition, epoch, from, to| Stamp {
        partition,
        epoch,
        from,
        to,
    };
    let numbers = async || {
        let stamped = epochs.stamped(&[one, other, Partition(9)]).await.unwrap();
        let numbers: Vec<_> = stamped.iter().map(|of| of.batch.unwrap()).collect();
        assert_eq!(
            (&stamped[0].fence, &stamped[2].fence),
            (&Some(fence.clone()), &None)
        );
        numbers
    };
    assert_eq!(numbers().await, [0, 0, 0]);
    let both = [stamp(one, 3, 0, 1), stamp(other, 3, 0, 1)];
    assert!(epochs.stamp(&both).await.unwrap());
    assert!(!epochs.stamp(&both).await.unwrap(), "the number moved on");
    assert!(
        !epochs.stamp(&[stamp(one, 2, 1, 2)]).await.unwrap(),
        "another epoch"
    );
    assert!(epochs.stamp(&[stamp(one, 3, 1, 2)]).await.unwrap());
    assert!(
        epochs.stamp(&[stamp(one, 3, 2, 2)]).await.unwrap(),
        "the same again"
    );
    assert!(epochs.confirm(&[(one, 3)]).await.unwrap());
    assert_eq!(numbers().await, [2, 1, 0], "a confirmation does not number");
}
