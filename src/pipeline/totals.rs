//! Own totals counted from the history: what a log that was lost, or cut, cannot know.

use std::collections::HashMap;

use crate::model::epoch::EpochTable;
use crate::model::id::{GroupId, UserId};
use crate::model::position::{Position, Seq};
use crate::store::Result;
use crate::store::history::History;

/// Events read at a time.
const STEP: usize = 256;

/// The own total of everyone who sent below `bound`. Up to the seq `stored` the message store holds
/// every valid event and counts them itself.
///
/// # Errors
/// A store does not answer.
pub(super) async fn own_totals(
    history: &History,
    group: GroupId,
    table: &mut EpochTable,
    stored: Seq,
    bound: Position,
) -> Result<HashMap<UserId, u64>> {
    let mut totals = history.stored_totals(group, table, stored).await?;
    let mut from = table.at(stored).unwrap_or_default();
    while from.seq + 1 < bound.seq {
        let step = history.after(group, table, from, Some(bound), STEP).await?;
        let Some(last) = step.last() else { break };
        from = last.pos;
        let counted = step.iter().filter(|entry| entry.kind.is_counted());
        totals.extend(counted.map(|entry| (entry.sender, entry.sender_count)));
    }
    Ok(totals)
}
