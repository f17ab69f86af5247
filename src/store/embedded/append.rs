//! The append: the checks of a log and the event's row, as one write of a batch (epochs.md
//! rules 1, 2 and 9). Nothing is written unless every check passed.

use async_trait::async_trait;
use bytes::Bytes;

use super::batch::{Batch, SentKey};
use super::rows::corrupt;
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
    fn remembered(&self, sent: Option<&Entry>, stored: Position) -> Result<Option<Outcome>> {
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

    const fn key(&self) -> SentKey {
        let Fixed {
            sender, client_id, ..
        } = self.fixed();
        (self.group(), (*sender, *client_id))
    }
}

#[async_trait]
impl Write for AppendEvent {
    type Answer = Outcome;

    fn looks_up(&self) -> Option<SentKey> {
        Some(self.key())
    }

    async fn apply(&self, batch: &mut Batch) -> Result<Outcome> {
        let group = self.group();
        batch.know_sent(&[self.key()]).await?;
        let head = match self.check(batch.head(group), batch.announced(group)) {
            Ok(head) => head,
            Err(refused) => return Ok(refused),
        };
        if let Some(answer) = self.remembered(batch.sent(self.key()), head.pos)? {
            return Ok(answer);
        }
        let entry = self.next(head, batch.own(group, self.fixed().sender));
        let receipt = Receipt {
            pos: entry.pos,
            message: self.fixed().content.message_id(),
            at: entry.at,
            count: entry.count,
            stored: entry.pos,
        };
        let head = head_after(head, &entry);
        batch.append(group, entry, head);
        Ok(Outcome::Appended(receipt))
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
