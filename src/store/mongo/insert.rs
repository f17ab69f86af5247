//! Keeping events: bounded batches, and what stands at a position that was taken.

use std::collections::HashMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use mongodb::bson::RawDocumentBuf;

use super::database::{BATCH_MAX, Db, Query};
use super::failure::unavailable;
use super::key;
use super::layout::{self, EVENTS, Identity};
use crate::model::event::Entry;
use crate::model::id::GroupId;
use crate::model::position::Position;
use crate::store::Result;
use crate::store::messages::Inserted;

/// How many bytes of documents one command carries at most, give or take one document. The
/// server takes 48 MB; a smaller batch keeps others from waiting behind it.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Positions of one group with at most this many seqs between them are read back by one range.
const RUN_GAP_MAX: u64 = 16;

/// How many ranges are read at a time.
const READS_MAX: usize = 8;

/// Keeps entries; answers in their order.
pub(super) async fn insert(db: &Db, entries: &[(GroupId, Entry)]) -> Result<Vec<Inserted>> {
    let documents = entries.iter().map(|(group, e)| layout::event(*group, e));
    let documents: Vec<_> = documents.collect::<Result<_>>()?;
    let mut taken = Vec::new();
    let mut done = 0;
    while done < documents.len() {
        let batch = &documents[done..done + batch_len(&documents[done..])];
        let indices = db.insert(EVENTS, batch).await?;
        taken.extend(indices.into_iter().map(|index| done + index));
        done += batch.len();
    }
    judge(db, entries, &taken).await
}

/// How many of these documents the next command carries.
fn batch_len(documents: &[RawDocumentBuf]) -> usize {
    let mut bytes = 0;
    let fits = documents.iter().take(BATCH_MAX).take_while(|document| {
        let room = bytes < BATCH_BYTES_MAX;
        bytes += document.as_bytes().len();
        room
    });
    fits.count()
}

/// Compares the entries whose positions were taken with what stands there.
async fn judge(db: &Db, entries: &[(GroupId, Entry)], taken: &[usize]) -> Result<Vec<Inserted>> {
    let mut inserted = vec![Inserted::Kept; entries.len()];
    let places = taken.iter().map(|index| place(&entries[*index]));
    let standing = read_standing(db, places.collect()).await?;
    for index in taken {
        match standing.get(&place(&entries[*index])) {
            Some(identity) if *identity == identity_of(&entries[*index].1) => {}
            Some(_) => inserted[*index] = Inserted::Different,
            // A majority read does not see it yet: it may still be rolled back.
            None => return Err(unavailable("a duplicate is not durable yet")),
        }
    }
    Ok(inserted)
}

const fn place(entry: &(GroupId, Entry)) -> (GroupId, Position) {
    (entry.0, entry.1.pos)
}

const fn identity_of(entry: &Entry) -> Identity {
    (entry.sender, entry.client_id, entry.digest)
}

/// What stands at these places. They are read by ranges, since a clustered collection is read
/// whole for `$in`; a batch that comes again is a few dense runs.
async fn read_standing(
    db: &Db,
    mut places: Vec<(GroupId, Position)>,
) -> Result<HashMap<(GroupId, Position), Identity>> {
    places.sort_unstable();
    let runs: Vec<_> = places.chunk_by(is_near).map(<[_]>::to_vec).collect();
    let reads = stream::iter(runs).map(|run| read_run(db, run));
    let found: Vec<_> = reads.buffer_unordered(READS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn is_near(low: &(GroupId, Position), high: &(GroupId, Position)) -> bool {
    let gap = high.1.seq.saturating_sub(low.1.seq);
    low.0 == high.0 && low.1.epoch == high.1.epoch && gap <= RUN_GAP_MAX
}

async fn read_run(
    db: &Db,
    run: Vec<(GroupId, Position)>,
) -> Result<Vec<((GroupId, Position), Identity)>> {
    let (Some((group, low)), Some((_, high))) = (run.first(), run.last()) else {
        return Ok(Vec::new());
    };
    let below = Position::new(low.epoch, low.seq.saturating_sub(1));
    let mut query = Query::all(key::above(
        key::event(*group, below),
        key::event(*group, *high),
    ));
    query.fields = layout::identity_fields();
    let found = db.find(EVENTS, query, layout::event_identity).await?;
    let group = *group;
    let places = found
        .into_iter()
        .map(|(pos, identity)| ((group, pos), identity));
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    #[test]
    fn a_batch_is_bounded_by_count_and_by_bytes() {
        let small = vec![rawdoc! { "f": "x" }; BATCH_MAX + 1];
        assert_eq!(batch_len(&small), BATCH_MAX);
        let large = vec![rawdoc! { "f": "x".repeat(BATCH_BYTES_MAX / 4) }; 9];
        assert_eq!(batch_len(&large), 4);
        let huge = vec![rawdoc! { "f": "x".repeat(BATCH_BYTES_MAX * 2) }; 2];
        assert_eq!(batch_len(&huge), 1, "one document always goes");
    }
}
