//! What somebody sent, as the message store knows it: the first valid message above a position, and
//! how many there are up to one.

use super::Result;
use super::messages::{Few, Messages};
use crate::model::epoch::EpochTable;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;

/// Messages read at first: nearly always the first one is valid. Among many that are dead each step
/// is four times as long as the one before, up to the bound.
const STEP: usize = 8;
const STEP_MAX: usize = 512;

/// One sender's messages in one group.
#[derive(Clone, Copy)]
pub struct Sent<'a> {
    /// Where they are stored.
    pub messages: &'a dyn Messages,
    /// The group.
    pub group: GroupId,
    /// Which of them are valid.
    pub table: &'a EpochTable,
    /// Who sent them.
    pub sender: UserId,
}

impl Sent<'_> {
    /// The own total at the first valid message with `after < pos ≤ upto`; `None` if there is none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn first_above(&self, mut after: Position, upto: Position) -> Result<Option<u64>> {
        let mut step = STEP;
        loop {
            let few = self.between(after, upto, Few::First(step)).await?;
            let Some((last, _)) = few.last() else {
                return Ok(None);
            };
            after = *last;
            step = (step * 4).min(STEP_MAX);
            if let Some((_, own)) = few.into_iter().find(|(pos, _)| self.table.is_valid(*pos)) {
                return Ok(Some(own));
            }
        }
    }

    /// The own total up to `upto`: 0 where nothing valid is stored.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn total(&self, mut upto: Position) -> Result<u64> {
        let mut step = STEP;
        loop {
            let few = self.between(Position::START, upto, Few::Last(step)).await?;
            let Some((lowest, _)) = few.last() else {
                return Ok(0);
            };
            // Seqs begin with 1.
            upto = Position::new(lowest.epoch, lowest.seq.saturating_sub(1));
            step = (step * 4).min(STEP_MAX);
            if let Some((_, own)) = few.into_iter().find(|(pos, _)| self.table.is_valid(*pos)) {
                return Ok(own);
            }
        }
    }

    async fn between(
        &self,
        after: Position,
        upto: Position,
        few: Few,
    ) -> Result<Vec<(Position, u64)>> {
        let sent = self
            .messages
            .sent_between(self.group, self.sender, after, upto, few);
        sent.await
    }
}
