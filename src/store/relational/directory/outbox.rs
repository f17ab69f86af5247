//! The outbox: every change of a group is decided under the group's lock, and promised as a row
//! in the same transaction.
//!
//! The log must hear of decisions about one person, or about the group's settings, in the order
//! in which they were made: else it ends with `removed` where the directory has a member. So an
//! answer begins with the older rows about the same subject that nobody has noted as appended.
//! Appending a row twice is harmless, for its id is the event's `client_id`.

use async_trait::async_trait;

use crate::model::client_id::ClientId;
use crate::model::event::{Content, Kind};
use crate::model::id::{GroupId, MerchantId, UserId};
use crate::model::position::Position;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::directory::{Changed, OutboxRow};
use crate::store::relational::engine::{self, Transaction, Work};
use crate::store::relational::value::{Row, args};

/// A group, with the merchant that every key of it begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) merchant: MerchantId,
    pub(super) group: GroupId,
}

/// Who decided, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Author {
    pub(super) actor: UserId,
    pub(super) at: Time,
}

/// `$1` a time, `$2` the limit. A row waits for the older ones of its group, whatever their
/// time: the clocks of two nodes may differ.
pub(super) const DUE: &str = "SELECT id, group_id, actor_id, content, decided_at FROM outbox due
     WHERE epoch IS NULL AND decided_at < $1 AND NOT EXISTS (
         SELECT 1 FROM outbox older
         WHERE older.merchant_id = due.merchant_id AND older.group_id = due.group_id
             AND older.decision < due.decision AND older.epoch IS NULL
             AND older.decided_at >= $1)
     ORDER BY decision LIMIT $2";

const UNAPPENDED: &str = "SELECT id, group_id, actor_id, content, decided_at FROM outbox
     WHERE merchant_id = $1 AND group_id = $2 AND epoch IS NULL ORDER BY decision";

/// A row that is written is a row that is locked: engines agree on this, and not on how to lock
/// by reading.
const LOCK: &str = "UPDATE groups SET revision = revision + 1 WHERE id = $1
     RETURNING merchant_id";

const PROMISE: &str = "INSERT INTO outbox
         (id, merchant_id, group_id, actor_id, content, decided_at)
     VALUES ($1, $2, $3, $4, $5, $6)";

/// A position that is not higher than the one noted comes from a call that was overtaken.
const MARK: &str = "UPDATE outbox SET epoch = $2, seq = $3
     WHERE id = $1 AND (epoch IS NULL OR (epoch, seq) < ($2, $3))
     RETURNING id, group_id, actor_id, content, decided_at";

/// `$1` the group, `$2` and `$3` the epoch and the seq that cut off what stands above.
const CUT_OFF: &str = "UPDATE outbox SET epoch = NULL, seq = NULL
     WHERE merchant_id = (SELECT merchant_id FROM groups WHERE id = $1) AND group_id = $1
         AND seq >= $3 AND epoch < $2";

/// `$1` the merchant, `$2` the group, `$3` the row of the `joined` event.
const BEGIN_MEMBERSHIP: &str = "UPDATE members SET joined_epoch = $4, joined_seq = $5
     WHERE merchant_id = $1 AND group_id = $2 AND joined_by = $3 AND joined_epoch IS NULL";

const MOVE_MEMBERSHIP: &str = "UPDATE members SET joined_epoch = $4, joined_seq = $5
     WHERE merchant_id = $1 AND group_id = $2 AND joined_by = $3";

const COUNT_UP: &str = "UPDATE groups SET members = members + 1 WHERE merchant_id = $1 AND id = $2";

/// Holds off every other change of the group until the transaction ends; `None` if there is no
/// such group.
pub(super) async fn lock(
    tx: &mut dyn Transaction,
    group: GroupId,
) -> engine::Result<Option<Place>> {
    let row = tx.rows(LOCK, args![group]).await?.into_iter().next();
    let merchant: Option<MerchantId> = row.map(Row::only).transpose()?;
    Ok(merchant.map(|merchant| Place { merchant, group }))
}

/// Promises one event and answers all that must be appended for it.
pub(super) async fn decide(
    tx: &mut dyn Transaction,
    place: Place,
    by: Author,
    content: Content,
) -> engine::Result<Changed> {
    let mut rows = unappended(tx, place).await?;
    rows.retain(|row| subject(&row.content) == subject(&content));
    rows.push(promise(tx, place, by, content).await?);
    Ok(Changed::Rows(rows))
}

/// Promises one event.
pub(super) async fn promise(
    tx: &mut dyn Transaction,
    Place { merchant, group }: Place,
    Author { actor, at }: Author,
    content: Content,
) -> engine::Result<OutboxRow> {
    let id = ClientId::random();
    let text = serde_json::to_string(&content).expect("plain data always serialises");
    tx.execute(PROMISE, args![id, merchant, group, actor, text, at])
        .await?;
    Ok(OutboxRow {
        id,
        group,
        actor,
        content,
        at,
    })
}

/// The rows of the group that are not noted as appended, oldest first.
pub(super) async fn unappended(
    tx: &mut dyn Transaction,
    place: Place,
) -> engine::Result<Vec<OutboxRow>> {
    let rows = tx
        .rows(UNAPPENDED, args![place.merchant, place.group])
        .await?;
    let rows: Result<Vec<OutboxRow>> = rows.into_iter().map(row).collect();
    Ok(rows?)
}

/// Notes where a row's event stands.
pub(super) struct Mark {
    pub(super) row: ClientId,
    pub(super) pos: Position,
}

#[async_trait]
impl Work for Mark {
    type Done = ();

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<()> {
        let Position { epoch, seq } = self.pos;
        let marked = tx.rows(MARK, args![self.row, epoch, seq]).await?;
        let Some(marked) = marked.into_iter().next().map(row).transpose()? else {
            return Ok(());
        };
        if marked.content.kind() == Kind::Joined {
            begin_membership(tx, &marked, self.pos).await?;
        }
        Ok(())
    }
}

/// Makes rows due again whose events died.
pub(super) struct CutOff {
    pub(super) group: GroupId,
    pub(super) row: Position,
}

#[async_trait]
impl Work for CutOff {
    type Done = u64;

    async fn run(&self, tx: &mut dyn Transaction) -> engine::Result<u64> {
        let Position { epoch, seq } = self.row;
        tx.execute(CUT_OFF, args![self.group, epoch, seq]).await
    }
}

/// The member of a `joined` row begins at `pos`, or was already begun and moves there; one who
/// was removed meanwhile does neither.
async fn begin_membership(
    tx: &mut dyn Transaction,
    joined: &OutboxRow,
    pos: Position,
) -> engine::Result<()> {
    let Some(Place { merchant, group }) = lock(tx, joined.group).await? else {
        return Ok(());
    };
    let member = args![merchant, group, joined.id, pos.epoch, pos.seq];
    match tx.execute(BEGIN_MEMBERSHIP, member).await? {
        0 => tx.execute(MOVE_MEMBERSHIP, member).await.map(drop),
        _ => tx.execute(COUNT_UP, args![merchant, group]).await.map(drop),
    }
}

/// Whom an event concerns; `None` for one of the group itself.
pub(super) const fn subject(content: &Content) -> Option<UserId> {
    match content {
        Content::Joined { user, .. }
        | Content::Left { user }
        | Content::Removed { user }
        | Content::Role { user, .. } => Some(*user),
        Content::Message { .. } | Content::Settings { .. } | Content::Lost {} => None,
    }
}

/// Reads [`DUE`].
pub(super) fn row(row: Row) -> Result<OutboxRow> {
    let mut columns = row.columns();
    let (id, group, actor) = (columns.take()?, columns.take()?, columns.take()?);
    let content: String = columns.take()?;
    let content = serde_json::from_str(&content);
    Ok(OutboxRow {
        id,
        group,
        actor,
        content: content.map_err(|error| columns.corrupt(&format!("an event: {error}")))?,
        at: columns.take()?,
    })
}
