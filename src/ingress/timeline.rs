//! A piece of a group's history for one who may read it: what `pull` and the history pages share.

use super::app::App;
use crate::access::{Permit, Read};
use crate::error::{Error, Result};
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::position::Position;
use crate::protocol::code::ErrorCode;
use crate::store::log::Head;

/// Which piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Upwards from above a position.
    After(Position),
    /// Downwards from below a position, or from the newest event.
    Before(Option<Position>),
}

/// A piece of history.
#[derive(Debug)]
pub struct Piece {
    /// The events, ascending and dense.
    pub entries: Vec<Entry>,
    /// Whether there is more in the asked direction.
    pub more: bool,
    /// The head when it was read.
    pub head: Head,
}

/// Reads up to `limit` visible events.
///
/// # Errors
/// `conflict` for a dead position, `bad_request` for one above the head, `busy` when a store does
/// not answer.
pub async fn read(app: &App, permit: &Permit<Read>, bounds: Bounds, limit: u32) -> Result<Piece> {
    let group = permit.group();
    let head = app.counts.head(group).await?;
    let mut table = app.history.table(group).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let visible_after = permit.visible_after();
    let mut entries = match bounds {
        Bounds::After(after) => {
            check(after, &table, head.pos)?;
            let after = if after.seq < visible_after.seq {
                visible_after
            } else {
                after
            };
            app.history
                .after(group, &mut table, after, None, limit + 1)
                .await?
        }
        Bounds::Before(before) => {
            if let Some(before) = before {
                check(before, &table, head.pos)?;
            }
            let mut found = app
                .history
                .before(group, &mut table, before, limit + 1)
                .await?;
            found.retain(|entry| entry.pos.seq > visible_after.seq);
            found
        }
    };
    let more = entries.len() > limit;
    if more {
        match bounds {
            Bounds::After(_) => drop(entries.pop()),
            Bounds::Before(_) => drop(entries.remove(0)),
        }
    }
    Ok(Piece {
        entries,
        more,
        head,
    })
}

/// A reference to an event must name one that counts (protocol.md, "Identifiers and positions").
fn check(pos: Position, table: &EpochTable, head: Position) -> Result<()> {
    if pos.seq == 0 || table.is_valid(pos) && pos.seq <= head.seq {
        return Ok(());
    }
    let valid = table.clamp(pos);
    if valid != pos {
        let error = Error::new(ErrorCode::Conflict, "this position was lost with its epoch");
        return Err(Error {
            valid_up_to: Some(valid),
            ..error
        });
    }
    let detail = format!("there is no event at {pos}; the head is {head}");
    Err(Error::new(ErrorCode::BadRequest, detail))
}
