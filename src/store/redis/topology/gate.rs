//! Appends go together when there are many: each one alone costs Redis a sync of its file, and both
//! sides a wake-up. When there are few, each goes at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an append may wait for company, give or take the millisecond that timers go by: behind
/// another one, and never the first after a pause.
const PERIOD: Duration = Duration::from_millis(2);

/// Lets callers through: at once after a pause, else all together at the end of a period.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<Option<Opening>>,
}

/// When the gate opens next.
#[derive(Debug, Clone, Copy)]
struct Opening {
    at: Instant,
    /// Whether anybody waits for it.
    is_awaited: bool,
}

impl Gate {
    /// When somebody who comes now may pass; `None` for at once.
    pub(super) fn turn(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = match *state {
            Some(next) if now < next.at => Some(next.at),
            // The last ones went together just now: so do those that come after them.
            Some(last) if last.is_awaited && now < last.at + PERIOD => Some(last.at + PERIOD),
            Some(_) | None => None,
        };
        *state = Some(Opening {
            at: turn.unwrap_or(now + PERIOD),
            is_awaited: turn.is_some(),
        });
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_alone_passes_at_once_and_who_comes_soon_after_waits_for_company() {
        let (gate, begun) = (Gate::default(), Instant::now());
        let turn = |ms| gate.turn(begun + Duration::from_millis(ms));
        let at = |ms| Some(begun + Duration::from_millis(ms));
        assert_eq!(turn(0), None);
        assert_eq!((turn(1), turn(1)), (at(2), at(2)));
        // Those two go at 2: whoever comes until 4 goes then, and so on.
        assert_eq!((turn(2), turn(3)), (at(4), at(4)));
        assert_eq!(turn(5), at(6));
        assert_eq!(turn(8), None, "nobody waited for a while");
        assert_eq!(turn(11), None);
    }
}
