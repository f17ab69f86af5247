//! What the `unread` consumer learnt, as few commands: one for each collection, whatever the
//! size of the batch, and all of them idempotent by position.

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::database::{BATCH_MAX, Db, upsert};
use super::key;
use super::layout::{self, CURSORS, INBOX, MENTIONS_ALL};
use crate::model::id::{GroupId, UserId};
use crate::model::unread::ReadMark;
use crate::store::Result;
use crate::store::unread::Learnt;

/// Records a batch.
pub(super) async fn record(db: &Db, learnt: &Learnt) -> Result<()> {
    let marks = first_marks(learnt);
    let (inbox, all) = (inbox_entries(learnt), mentions_of_all(learnt));
    tokio::try_join!(
        db.upsert(CURSORS, &marks),
        insert(db, INBOX, &inbox),
        insert(db, MENTIONS_ALL, &all),
    )?;
    Ok(())
}

/// Inserts documents whose `_id` says all that they say, so that one that is there is the same.
async fn insert(db: &Db, collection: &str, documents: &[RawDocumentBuf]) -> Result<()> {
    for batch in documents.chunks(BATCH_MAX) {
        db.insert(collection, batch).await?;
    }
    Ok(())
}

/// In any order: of two marks the later one stands.
fn first_marks(learnt: &Learnt) -> Vec<Document> {
    let joined = learnt.joined.iter();
    let update = |(group, user, mark): &(GroupId, UserId, ReadMark)| {
        upsert(key::cursor(*user, *group), vec![move_read(*mark)])
    };
    joined.map(update).collect()
}

/// The stage of an update that moves a read mark, if its position is above where it stands. A mark
/// that is missing is below every position: MongoDB sorts nothing before binary.
pub(super) fn move_read(mark: ReadMark) -> Document {
    let is_above = doc! { "$gt": [key::position(mark.pos), "$r.p"] };
    doc! { "$set": { "r": { "$cond": [is_above, layout::read_mark(mark), "$r"] } } }
}

/// Who mentions oneself is not mentioned, so that a count needs the index alone.
fn inbox_entries(learnt: &Learnt) -> Vec<RawDocumentBuf> {
    let mentions = learnt.mentions.iter();
    let of_others = mentions.filter(|(_, user, _, mention)| mention.by != *user);
    of_others
        .map(|(group, user, pos, mention)| layout::mention(*user, *group, *pos, mention))
        .collect()
}

fn mentions_of_all(learnt: &Learnt) -> Vec<RawDocumentBuf> {
    let mentions = learnt.mentions_all.iter();
    mentions
        .map(|(group, pos, by)| layout::mention_all(*group, *pos, *by))
        .collect()
}
