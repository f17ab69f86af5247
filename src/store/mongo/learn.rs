//! What the `unread` consumer learnt, as few commands: one for each collection, whatever the
//! size of the batch, and all of them idempotent by position.

use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::database::{BATCH_MAX, Db, upsert};
use super::key;
use super::layout::{self, CURSORS, INBOX, MENTIONS_ALL, number};
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::unread::ReadMark;
use crate::store::Result;
use crate::store::unread::Learnt;

/// Records a batch.
pub(super) async fn record(db: &Db, learnt: &Learnt) -> Result<()> {
    let cursors = cursor_updates(learnt);
    let (inbox, all) = (inbox_entries(learnt), mentions_of_all(learnt));
    tokio::try_join!(
        db.upsert(CURSORS, &cursors),
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

/// Own totals and joins in the order of their positions: the own total at a `joined` event is
/// made of what lies below it.
fn cursor_updates(learnt: &Learnt) -> Vec<Document> {
    let own = learnt
        .own
        .iter()
        .map(|(group, user, pos, own)| (*pos, own_update(*group, *user, *pos, *own)));
    let joined = learnt
        .joined
        .iter()
        .map(|(group, user, pos, count)| (*pos, joined_update(*group, *user, *pos, *count)));
    let mut updates: Vec<_> = own.chain(joined).collect();
    updates.sort_by_key(|(pos, _)| *pos);
    updates.into_iter().map(|(_, update)| update).collect()
}

fn own_update(group: GroupId, user: UserId, pos: Position, own: u64) -> Document {
    let update = doc! { "$max": { "w": layout::own(pos, own) } };
    upsert(key::cursor(user, group), update)
}

fn joined_update(group: GroupId, user: UserId, pos: Position, count: u64) -> Document {
    let held = doc! { "$ifNull": ["$w.o", 0_i64] };
    let mark = doc! { "p": key::position(pos), "n": number(count), "o": held };
    upsert(key::cursor(user, group), vec![move_mark(pos, mark)])
}

/// The stage of an update that moves a read mark to `pos`, if that is above where it stands.
pub(super) fn move_read(mark: ReadMark) -> Document {
    move_mark(mark.pos, layout::read_mark(mark))
}

/// A mark that is missing is below every position: MongoDB sorts nothing before binary.
fn move_mark(pos: Position, mark: Document) -> Document {
    let is_above = doc! { "$gt": [key::position(pos), "$r.p"] };
    doc! { "$set": { "r": { "$cond": [is_above, mark, "$r"] } } }
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
