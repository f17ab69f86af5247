//! A piece of a group's history for one who may read it: what `pull` and the history pages share.

use super::app::App;
use crate::access::{Permit, Read};
use crate::error::{Error, Result};
use crate::model::epoch::EpochTable;
use crate::model::event::Entry;
use crate::model::position::Position;
use crate::protocol::code::ErrorCode;
use crate::store::log::Head;

/// Bytes of events on a page at most, so that a page fits any socket's queue.
const PAGE_BYTES_MAX: usize = 512 * 1024;

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
    /// Nothing at or below this position may be seen.
    pub visible_after: Position,
}

/// Reads up to `limit` visible events.
///
/// # Errors
/// `conflict` for a dead position, `bad_request` for one above the head, `busy` when a store does
/// not answer.
pub async fn read(app: &App, permit: &Permit<Read>, bounds: Bounds, limit: u32) -> Result<Piece> {
    let group = permit.group();
    let head = app.counts.head(group).await?;
    let named = match bounds {
        Bounds::After(pos) => pos.epoch,
        Bounds::Before(pos) => pos.map_or(0, |pos| pos.epoch),
    };
    let mut table = app
        .history
        .table_at(group, named.max(head.pos.epoch))
        .await?;
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
    let more = match bounds {
        Bounds::After(_) => cut(&mut entries, limit),
        Bounds::Before(_) => {
            entries.reverse();
            let more = cut(&mut entries, limit);
            entries.reverse();
            more
        }
    };
    Ok(Piece {
        entries,
        more,
        head,
        visible_after,
    })
}

/// Cuts a page to its bounds, but for one event that alone is larger; answers whether anything
/// was cut.
fn cut(entries: &mut Vec<Entry>, limit: usize) -> bool {
    let mut bytes = 0;
    let fitting = entries.iter().take(limit).take_while(|entry| {
        bytes += entry.fixed.len();
        bytes <= PAGE_BYTES_MAX
    });
    let kept = fitting.count().max(1);
    let more = entries.len() > kept;
    entries.truncate(kept);
    more
}

/// A bound must be a position that counts, or the head of a log that was opened again and in which
/// nothing was said since (protocol.md, "Identifiers and positions").
fn check(pos: Position, table: &EpochTable, head: Position) -> Result<()> {
    let counts = pos.seq == 0 || table.is_valid(pos) || table.is_valid_top(pos);
    if counts && pos.seq <= head.seq {
        return Ok(());
    }
    if counts || pos.epoch > table.epoch() {
        let detail = format!("there is no event at {pos}; the head is {head}");
        return Err(Error::new(ErrorCode::BadRequest, detail));
    }
    Err(Error::dead(
        "this position was lost with its epoch",
        table.valid_up_to(pos),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client_id::ClientId;
    use crate::model::epoch::Row;
    use crate::model::event::{Content, Draft, Fixed};
    use crate::model::id::{GroupId, UserId};
    use crate::model::time::Time;

    fn entries(count: u64, bytes: usize) -> Vec<Entry> {
        let at = Time::from_millis(0);
        let name = Some("x".repeat(bytes));
        let content = Content::Settings { name };
        let sender = UserId::from_bytes([1; 16]);
        let fixed = Fixed {
            client_id: ClientId::random(),
            sender,
            at,
            content,
        };
        let draft = Draft {
            group: GroupId::from_bytes([2; 16]),
            fixed,
        };
        (1..=count)
            .map(|seq| draft.clone().into_entry(Position::new(1, seq), 0, 0))
            .collect()
    }

    #[test]
    fn a_bound_must_count_and_who_holds_a_dead_one_is_told_where_to_go_on() {
        let rows = [(1, 1, 0), (3, 11, 9), (4, 8, 6)];
        let table = rows.into_iter().map(Row::from).collect();
        let head = Position::new(4, 9);
        let judge = |epoch, seq| check(Position::new(epoch, seq), &table, head);
        for (epoch, seq) in [(0, 0), (1, 7), (4, 8), (4, 9), (4, 7)] {
            judge(epoch, seq).unwrap();
        }
        for (epoch, seq, valid) in [(1, 8, 7), (3, 12, 7), (2, 5, 5), (3, 99, 7)] {
            let dead = judge(epoch, seq).unwrap_err();
            assert_eq!(dead.code, ErrorCode::Conflict);
            assert_eq!(dead.valid_up_to, Some(Position::new(1, valid)));
        }
        for (epoch, seq) in [(4, 10), (5, 1)] {
            let unknown = judge(epoch, seq).unwrap_err();
            assert_eq!(unknown.code, ErrorCode::BadRequest, "{unknown:?}");
        }
    }

    #[test]
    fn a_page_is_cut_by_events_and_by_bytes() {
        let mut few = entries(3, 10);
        assert!(!cut(&mut few, 3));
        assert!(cut(&mut few, 2));
        assert_eq!(few.len(), 2);
        let mut large = entries(5, 200 * 1024);
        assert!(cut(&mut large, 5));
        assert_eq!(large.len(), 2);
    }

    #[test]
    fn an_event_larger_than_a_page_stands_alone() {
        let mut huge = entries(2, PAGE_BYTES_MAX + 1);
        assert!(cut(&mut huge, 2));
        assert_eq!(huge.len(), 1);
        let mut none = Vec::new();
        assert!(!cut(&mut none, 2));
    }
}
