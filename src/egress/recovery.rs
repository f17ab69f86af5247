//! What a socket missed: a verdict for each cursor, and the missed events within the bounds of a
//! resume (protocol.md, "Resume and gaps"). Never a silent part.

use std::sync::Arc;

use super::group::Reached;
use super::hub::Hub;
use super::missed::{Missed, Reader};
use crate::model::id::GroupId;
use crate::model::position::{Epoch, Position, Seq};
use crate::protocol::server::Verdict;
use crate::store::Result;
use crate::store::history::History;

/// A group to be resumed.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The group.
    pub group: GroupId,
    /// The last position that the client holds; `None` for none, which begins at the head.
    pub cursor: Option<Position>,
    /// Nothing at or below this position may be seen.
    pub visible_after: Position,
    /// Where pushing begins.
    pub reached: Reached,
    /// Whether the missed events are wanted.
    pub events: bool,
}

/// What becomes of a cursor.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// The group.
    pub group: GroupId,
    /// The verdict.
    pub verdict: Verdict,
    /// With [`Verdict::Epoch`]: what the client is to apply.
    pub rows: Vec<(Epoch, Seq)>,
    /// With [`Verdict::Epoch`]: the missed events are too many.
    pub pull: bool,
    /// The missed events, dense up to where pushing begins.
    pub missed: Missed,
}

/// Reads what sockets missed.
#[derive(Clone)]
pub struct Recovery {
    hub: Arc<Hub>,
    reader: Reader,
}

/// What is left of the bounds of one resume.
struct Budget {
    events: usize,
    bytes: usize,
}

impl Recovery {
    /// Recovery from this history, within the hub's bounds.
    pub fn new(hub: Arc<Hub>, history: History) -> Self {
        let reader = Reader::new(history, hub.metrics.clone());
        Self { hub, reader }
    }

    /// Verdicts for `resumes`, in their order, which decides whose events fit.
    ///
    /// # Errors
    /// A store does not answer.
    pub async fn resume(&self, resumes: &[Resume]) -> Result<Vec<Resumed>> {
        let options = &self.hub.options;
        let mut budget = Budget {
            events: options.resume_events_max,
            bytes: options.resume_bytes_max,
        };
        let mut resumed = Vec::with_capacity(resumes.len());
        for resume in resumes {
            resumed.push(self.one(resume, &mut budget).await?);
        }
        Ok(resumed)
    }

    async fn one(&self, resume: &Resume, budget: &mut Budget) -> Result<Resumed> {
        let table = &resume.reached.table;
        // Who holds nothing is told the epoch of the head by the head.
        let known = resume.cursor.unwrap_or(resume.reached.pos);
        let rows = resume.reached.rows_above(known);
        let Some(cursor) = resume.cursor.filter(|_| resume.events) else {
            return Ok(verdict(resume, rows, Some(Missed::default())));
        };
        let mut held = table.clamp(cursor);
        if resume.visible_after.seq > held.seq {
            held = resume.visible_after;
        }
        let head = resume.reached.pos;
        // Above the head, or in an epoch that is not known here: this node may lag behind the log;
        // the client pulls.
        let above = held.seq > head.seq || held.epoch > table.epoch();
        if above || held.seq == head.seq {
            return Ok(verdict(resume, rows, (!above).then(Missed::default)));
        }
        let missed = usize::try_from(head.seq - held.seq).unwrap_or(usize::MAX);
        if missed > budget.events {
            return Ok(verdict(resume, rows, None));
        }
        let found = self.reader.between(resume.group, table, held, head).await?;
        let found = found.filter(|found| found.bytes() <= budget.bytes);
        if let Some(found) = &found {
            budget.events -= missed;
            budget.bytes -= found.bytes();
        }
        Ok(verdict(resume, rows, found))
    }
}

/// The verdict on one group; `missed` is `None` when they are too many.
fn verdict(resume: &Resume, rows: Vec<(Epoch, Seq)>, missed: Option<Missed>) -> Resumed {
    let pull = missed.is_none();
    let verdict = match (rows.is_empty(), pull) {
        (false, _) => Verdict::Epoch,
        (true, true) => Verdict::Pull,
        (true, false) => Verdict::Ok,
    };
    Resumed {
        group: resume.group,
        pull: pull && verdict == Verdict::Epoch,
        verdict,
        rows,
        missed: missed.unwrap_or_default(),
    }
}
