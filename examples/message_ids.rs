//! Compares two orders of the message collection's `_id` on a real MongoDB: group before position, as
//! the server has it, and a slice of time before both. Many groups are active at once, so that inserts
//! go all over the first and to the end of the second; a page of one group is one range of the first and
//! one range for each slice of the second.
//!
//! `message_ids URL PID GROUPS MESSAGES` prints what an insert in batches of 100 and what a page of the
//! newest 50 cost the process `PID`, in the order A B B A. Its database is dropped at the end.

#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]

use std::error::Error;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::options::{ClusteredIndex, WriteConcern};
use mongodb::{Client, Collection, Database};
use qunliu::cli::load::cpu::used;

/// Documents of one insert.
const BATCH: usize = 100;
/// Slices that the messages fall into: a day of hours.
const SLICES: u32 = 24;
/// Bytes of a message beside its id, as `qunliu load` says them on average, in words of eight.
const BODY_WORDS: u64 = 40;
/// Pages that are read for the mean.
const PAGES: u32 = 500;
const PAGE: i64 = 50;

type Done = Result<(), Box<dyn Error>>;

/// What comes first in an id.
#[derive(Clone, Copy)]
enum Order {
    Group,
    Slice,
}

#[derive(Clone, Copy)]
struct Shape {
    groups: u32,
    messages: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, pid, groups, messages] = arguments.as_slice() else {
        return Err("message_ids URL PID GROUPS MESSAGES".into());
    };
    let (groups, messages) = (groups.parse()?, messages.parse()?);
    let (pid, shape) = (pid.parse()?, Shape { groups, messages });
    let client = Client::with_uri_str(url).await?;
    let database = client.database("qunliu_message_ids");
    println!("| order | us of mongod per insert | us of mongod per page |\n| --- | ---: | ---: |");
    for order in [Order::Group, Order::Slice, Order::Slice, Order::Group] {
        measure(&database, pid, shape, order).await?;
    }
    Ok(())
}

async fn measure(database: &Database, pid: u32, shape: Shape, order: Order) -> Done {
    database.drop().await?;
    let create = database.create_collection("events");
    create.clustered_index(ClusteredIndex::default()).await?;
    let events = database.collection::<Document>("events");
    let begun = used(pid)?;
    insert(&events, shape, order).await?;
    let inserted = used(pid)?;
    for page in 0..PAGES {
        read(&events, shape.group_of(page), order).await?;
    }
    let read = used(pid)?;
    let each = |used: Duration, count: u32| used.as_secs_f64() * 1e6 / f64::from(count);
    let insert = each(inserted - begun, shape.messages);
    let page = each(read - inserted, PAGES);
    let first = match order {
        Order::Group => "group",
        Order::Slice => "slice",
    };
    println!("| {first} first | {insert:.1} | {page:.1} |");
    database.drop().await?;
    Ok(())
}

async fn insert(events: &Collection<Document>, shape: Shape, order: Order) -> Done {
    let indices: Vec<u32> = (0..shape.messages).collect();
    for indices in indices.chunks(BATCH) {
        let document = |index: &u32| {
            let slice = u64::from(*index) * u64::from(SLICES) / u64::from(shape.messages);
            // Rising in each group, which is all that the order of the ids asks for.
            let seq = u64::from(*index) + 1;
            doc! { "_id": id(order, slice, shape.group_of(*index), seq), "f": body(*index) }
        };
        let documents: Vec<Document> = indices.iter().map(document).collect();
        let insert = events.insert_many(documents).ordered(false);
        insert.write_concern(WriteConcern::majority()).await?;
    }
    Ok(())
}

/// The newest events of a group, slice after slice: MongoDB 6 reads a clustered collection whole for
/// `$or`.
async fn read(events: &Collection<Document>, group: u64, order: Order) -> Done {
    let slices = match order {
        Order::Group => 1,
        Order::Slice => u64::from(SLICES),
    };
    let mut wanted = PAGE;
    for slice in (0..slices).rev() {
        let [low, high] = [0, u64::MAX].map(|seq| id(order, slice, group, seq));
        let range = events.find(doc! { "_id": { "$gte": low, "$lte": high } });
        let found = range.sort(doc! { "_id": -1 }).limit(wanted).await?;
        wanted -= i64::try_from(found.try_collect::<Vec<_>>().await?.len())?;
        if wanted == 0 {
            break;
        }
    }
    Ok(())
}

/// An id as the server makes it, with the slice before it or not.
fn id(order: Order, slice: u64, group: u64, seq: u64) -> Binary {
    let numbers: &[u64] = match order {
        // A group's id ends with chance: groups that talk at one time lie all over.
        Order::Group => &[scatter(group), group, 1, seq],
        Order::Slice => &[slice, scatter(group), group, 1, seq],
    };
    binary(numbers.iter().copied())
}

/// Text that does not compress to nothing.
fn body(index: u32) -> Binary {
    binary((0..BODY_WORDS).map(|word| scatter(u64::from(index) * BODY_WORDS + word)))
}

fn binary(numbers: impl Iterator<Item = u64>) -> Binary {
    Binary {
        subtype: BinarySubtype::Generic,
        bytes: numbers.flat_map(u64::to_be_bytes).collect(),
    }
}

impl Shape {
    /// Whose message this is.
    fn group_of(self, index: u32) -> u64 {
        scatter(u64::from(index)) % u64::from(self.groups)
    }
}

/// A number that looks like chance and is the same in each run: the finalizer of splitmix64.
const fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
