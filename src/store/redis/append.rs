//! An append as a call of the function, and its answer as an [`Outcome`].

use redis::{Cmd, Value};

use super::entry;
use super::fault::corrupt;
use super::keys;
use super::library::{Function, Library};
use super::reply::{at, list, number, position, text};
use crate::model::position::Position;
use crate::model::trace::Trace;
use crate::store::Result;
use crate::store::log::{Append, OnMiss, Outcome, Receipt};

/// The call. A log that is full takes no new message; what stands already is still answered, and
/// changes of members, which are few and decided, are appended.
pub(super) fn call(library: &Library, append: &Append, is_full: bool) -> Cmd {
    let draft = &append.draft;
    let kind = draft.fixed.content.kind();
    let mut call = library.call(Function::Append, &keys::all(draft.group));
    call.arg(&append.history)
        .arg(append.epoch)
        .arg(position_or_empty(append.rights))
        .arg(policy(append.on_miss))
        .arg(position_or_empty(append.replace))
        .arg(u8::from(kind.is_counted()))
        .arg(u8::from(kind.changes_rights()))
        .arg(draft.fixed.at.as_millis())
        .arg(entry::meta(draft))
        .arg(draft.encode().as_ref())
        .arg(draft.group.to_string());
    let trace = append.trace.map(Trace::to_bytes);
    call.arg(trace.as_ref().map_or(&[][..], |trace| trace))
        .arg(u8::from(is_full));
    call
}

/// The answer to the call of `append`.
pub(super) fn outcome(append: &Append, answer: &Value) -> Result<Outcome> {
    let answer = list(answer)?;
    match text(at(answer, 0)?)? {
        "appended" => receipt(append, answer).map(Outcome::Appended),
        "repeated" => {
            let stored = position(at(answer, 2)?)?;
            entry::remembered(at(answer, 1)?, stored).map(Outcome::Repeated)
        }
        "conflict" => Ok(Outcome::Conflict(position(at(answer, 1)?)?)),
        "history" => Ok(Outcome::OtherHistory(text(at(answer, 1)?)?.to_owned())),
        "stale" => Ok(Outcome::StaleEpoch),
        "closed" => Ok(Outcome::NotOpen),
        "rights" => Ok(Outcome::RightsChanged(position(at(answer, 1)?)?)),
        "ask" => Ok(Outcome::AskStore),
        "full" => Ok(Outcome::Full),
        other => Err(corrupt(format!("an append answered {other}"))),
    }
}

fn receipt(append: &Append, answer: &[Value]) -> Result<Receipt> {
    let fixed = &append.draft.fixed;
    Ok(Receipt {
        pos: position(at(answer, 1)?)?,
        message: fixed.content.message_id(),
        at: fixed.at,
        count: number(at(answer, 2)?)?,
        stored: position(at(answer, 3)?)?,
    })
}

pub(super) fn position_or_empty(position: Option<Position>) -> String {
    position
        .map(|position| position.to_string())
        .unwrap_or_default()
}

fn policy(on_miss: OnMiss) -> String {
    match on_miss {
        OnMiss::Append => "append".to_owned(),
        OnMiss::AppendIfRemembered(known) => known.to_string(),
        OnMiss::AskStore => "ask".to_owned(),
    }
}
