//! Replays dead letters: has an event handled after all that a consumer once could not handle, and
//! takes its letter away once that took effect. A letter whose event still cannot be handled
//! stays as it is.
//!
//! In: letters. Out: what became of each. It needs neither the live log nor a lease: the log went
//! on behind the letter long ago, and every effect is idempotent by position, so that a node may
//! serve beside it and a replay may be repeated.

use std::sync::Arc;

use super::consumers::unread;
use crate::model::event::Entry;
use crate::model::id::GroupId;
use crate::store::cards::Cards;
use crate::store::consumers::Consumer;
use crate::store::dead_letters::{DeadLetters, LetterId};
use crate::store::epochs::Epochs;
use crate::store::messages::{Inserted, Messages};
use crate::store::sent::Sent;
use crate::store::unread::Unread;
use crate::store::{Result, StoreError};

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Its event was handled, and the letter is gone.
    Handled,
    /// There is no such letter: it was replayed before, or never kept.
    NoLetter,
    /// It stays, for this reason.
    Stays(String),
}

/// Has dead letters handled.
#[derive(Clone)]
pub struct Replay {
    /// The letters.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Where `persist` writes.
    pub messages: Arc<dyn Messages>,
    /// Which of them are valid.
    pub epochs: Arc<dyn Epochs>,
    /// Where `unread` writes.
    pub unread: Arc<dyn Unread>,
    /// Who must hear of mentions.
    pub cards: Arc<dyn Cards>,
}

impl Replay {
    /// Replays one letter.
    ///
    /// # Errors
    /// `Unavailable`: the letter may be gone or not; replay it again.
    pub async fn replay(&self, id: LetterId) -> Result<Replayed> {
        let Some(payload) = self.dead_letters.payload(id).await? else {
            return Ok(Replayed::NoLetter);
        };
        match self.handle(id, &payload).await {
            Ok(()) => {
                self.dead_letters.remove(id).await?;
                Ok(Replayed::Handled)
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => Ok(Replayed::Stays(error.to_string())),
        }
    }

    async fn handle(&self, id: LetterId, payload: &[u8]) -> Result<()> {
        let entry = read(id, payload)?;
        match id.consumer {
            Consumer::Persist => self.persist(id, &entry).await,
            Consumer::Unread => self.unread(id.group, entry).await,
        }
    }

    /// By the time of a replay all below the event is stored.
    async fn unread(&self, group: GroupId, entry: Entry) -> Result<()> {
        let own_at = |sender, group, pos| async move {
            let table = self.epochs.tables(&[group]).await?.pop();
            let sent = Sent {
                messages: &*self.messages,
                group,
                table: &table.unwrap_or_default(),
                sender,
            };
            sent.total(pos).await
        };
        unread::record(&*self.unread, &*self.cards, &[(group, entry)], own_at).await
    }

    /// The watermark has passed the position already, and with it every promise of `stored`.
    async fn persist(&self, id: LetterId, entry: &Entry) -> Result<()> {
        match self.messages.restore(id.group, entry).await? {
            Inserted::Kept => Ok(()),
            Inserted::Different => Err(corrupt(format!("another event stands at {}", id.pos))),
        }
    }
}

/// The event of a letter, which must be the one that the letter is named after.
fn read(id: LetterId, payload: &[u8]) -> Result<Entry> {
    if payload.is_empty() {
        return Err(corrupt("nothing is known of the event".to_owned()));
    }
    match Entry::read_json(payload) {
        Ok(entry) if entry.pos == id.pos => Ok(entry),
        Ok(entry) => Err(corrupt(format!("an event of {}", entry.pos))),
        Err(error) => Err(corrupt(format!("no event of this version ({error})"))),
    }
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt {
        store: "the letter",
        what,
    }
}
