//! The append: the checks of a log and the event's row, as one write of a batch (epochs.md
//! rules 1, 2 and 9). Nothing is written unless every check passed.

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::database::store_error;
use super::rows::{corrupt, entry, event_columns, get_u64, int};
use super::writer::Write;
use crate::model::digest::Digest;
use crate::model::event::{Entry, Fixed};
use crate::model::id::GroupId;
use crate::model::position::{Epoch, Position};
use crate::store::Result;
use crate::store::log::{Append, Head, HistoryId, OnMiss, Outcome, Receipt};

/// One append, with what can be computed before its turn.
pub(super) struct AppendEvent {
    append: Append,
    digest: Digest,
    text: Bytes,
    /// The history of this file.
    history: HistoryId,
}

/// What the log knows of a sender when it looks up a `client_id`.
struct Memory {
    /// The newest event under the `client_id`.
    sent: Option<Entry>,
    /// Messages of the sender so far (O).
    own: u64,
}

impl AppendEvent {
    pub(super) fn new(append: Append, history: HistoryId) -> Self {
        Self {
            digest: append.draft.fixed.content.digest(),
            text: append.draft.encode(),
            append,
            history,
        }
    }

    const fn group(&self) -> GroupId {
        self.append.draft.group
    }

    const fn fixed(&self) -> &Fixed {
        &self.append.draft.fixed
    }

    /// The head to append after, or the answer that refuses.
    fn check(&self, head: Option<Head>, announced: Epoch) -> std::result::Result<Head, Outcome> {
        let epoch = self.append.epoch;
        if self.append.history != self.history {
            return Err(Outcome::OtherHistory(self.history.clone()));
        }
        if epoch < announced || head.is_some_and(|head| epoch < head.pos.epoch) {
            return Err(Outcome::StaleEpoch);
        }
        let head = head.filter(|head| head.pos.epoch == epoch);
        let head = head.ok_or(Outcome::NotOpen)?;
        match self.append.rights {
            Some(known) if known < head.rights => Err(Outcome::RightsChanged(head.rights)),
            _ => Ok(head),
        }
    }

    /// The answer that the memory gives; `None` to append. The memory is complete, so it
    /// reaches down to any position and only [`OnMiss::AskStore`] asks.
    fn remembered(&self, memory: &Memory, stored: Position) -> Result<Option<Outcome>> {
        let sent = memory.sent.as_ref();
        match sent.filter(|sent| self.append.replace != Some(sent.pos)) {
            Some(sent) => self.repeat(sent, stored).map(Some),
            None => match self.append.on_miss {
                OnMiss::AskStore => Ok(Some(Outcome::AskStore)),
                OnMiss::Append | OnMiss::AppendIfRemembered(_) => Ok(None),
            },
        }
    }

    /// The answer to a `client_id` that was seen before.
    fn repeat(&self, sent: &Entry, stored: Position) -> Result<Outcome> {
        if sent.digest != self.digest {
            return Ok(Outcome::Conflict(sent.pos));
        }
        let event = sent.event();
        let event = event.map_err(|error| corrupt("fixed", &error.to_string()))?;
        Ok(Outcome::Repeated(Receipt {
            pos: sent.pos,
            message: event.fixed.content.message_id(),
            at: sent.at,
            count: sent.count,
            stored,
        }))
    }

    /// The event after `head`.
    fn next(&self, head: Head, own: u64) -> Entry {
        let kind = self.fixed().content.kind();
        let counted = u64::from(kind.is_counted());
        Entry {
            pos: Position::new(head.pos.epoch, head.pos.seq + 1),
            kind,
            sender: self.fixed().sender,
            client_id: self.fixed().client_id,
            digest: self.digest,
            count: head.count + counted,
            sender_count: own + counted,
            at: self.fixed().at,
            fixed: self.text.clone(),
        }
    }

    async fn memory(&self, batch: &mut Batch) -> Result<Memory> {
        let row = sqlx::query(concat!(
            "SELECT sent.*, coalesce(o.total, 0) AS own
             FROM (SELECT 1)
             LEFT JOIN own_totals o ON o.group_id = ?1 AND o.sender_id = ?2
             LEFT JOIN (SELECT ",
            event_columns!(),
            "    FROM events INDEXED BY events_by_client_id
                 WHERE group_id = ?1 AND sender_id = ?2 AND client_id = ?3
                 ORDER BY epoch DESC, seq DESC LIMIT 1) sent",
        ))
        .bind(self.group().as_bytes().as_slice())
        .bind(self.fixed().sender.as_bytes().as_slice())
        .bind(self.fixed().client_id.as_bytes().as_slice())
        .fetch_one(batch.connection())
        .await
        .map_err(store_error)?;
        let moved = batch.own(self.group(), self.fixed().sender);
        Ok(Memory {
            sent: entry_if_any(&row)?,
            own: moved.map_or_else(|| get_u64(&row, "own"), Ok)?,
        })
    }
}

fn entry_if_any(row: &SqliteRow) -> Result<Option<Entry>> {
    use sqlx::Row as _;
    let epoch: Option<i64> = row.try_get("epoch").map_err(store_error)?;
    epoch.map(|_| entry(row)).transpose()
}

#[async_trait]
impl Write for AppendEvent {
    type Answer = Outcome;

    async fn apply(&self, batch: &mut Batch) -> Result<Outcome> {
        let head = batch.head(self.group()).await?;
        let announced = batch.announced(self.group()).await?;
        let head = match self.check(head, announced) {
            Ok(head) => head,
            Err(refused) => return Ok(refused),
        };
        let memory = self.memory(batch).await?;
        if let Some(answer) = self.remembered(&memory, head.pos)? {
            return Ok(answer);
        }
        let entry = self.next(head, memory.own);
        if !insert_event(batch, self.group(), &entry).await? {
            return Err(corrupt("log_heads", "lies below an event"));
        }
        batch.set_head(self.group(), head_after(head, &entry));
        if entry.kind.is_counted() {
            batch.set_own(self.group(), entry.sender, entry.sender_count);
        }
        Ok(Outcome::Appended(Receipt {
            pos: entry.pos,
            message: self.fixed().content.message_id(),
            at: entry.at,
            count: entry.count,
            stored: entry.pos,
        }))
    }
}

fn head_after(head: Head, entry: &Entry) -> Head {
    let rights = if entry.kind.changes_rights() {
        entry.pos
    } else {
        head.rights
    };
    Head {
        pos: entry.pos,
        count: entry.count,
        rights,
        at: entry.at,
        stored: entry.pos,
    }
}

/// Writes an event unless one stands at its position; answers whether it was written.
pub(super) async fn insert_event(batch: &mut Batch, group: GroupId, entry: &Entry) -> Result<bool> {
    let done = sqlx::query(concat!(
        "INSERT INTO events (group_id, ",
        event_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (group_id, epoch, seq) DO NOTHING",
    ))
    .bind(group.as_bytes().as_slice())
    .bind(int(entry.pos.epoch))
    .bind(int(entry.pos.seq))
    .bind(i64::from(entry.kind.code()))
    .bind(entry.sender.as_bytes().as_slice())
    .bind(entry.client_id.as_bytes().as_slice())
    .bind(entry.digest.as_bytes().as_slice())
    .bind(int(entry.count))
    .bind(int(entry.sender_count))
    .bind(entry.at.as_millis())
    .bind(entry.fixed.as_ref())
    .execute(batch.connection())
    .await
    .map_err(store_error)?;
    Ok(done.rows_affected() == 1)
}
