//! What a look at something found: for operators who ask before they trust a deployment. Plain
//! data; each backend's `examine` makes some, `qunliu doctor` shows them. Looking changes nothing.

use std::time::Duration;

use serde::Serialize;

use super::StoreError;
use crate::clock::Clock;
use crate::model::causes::full_text;
use crate::model::time::Time;

/// A difference of clocks that nobody notices.
const CLOCKS_WARN: Duration = Duration::from_secs(1);

/// A difference of clocks by which tokens of one node are refused by another.
const CLOCKS_FAIL: Duration = Duration::from_secs(60);

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may stop doing so; or it could not be looked at.
    Warn,
    /// A promise would be broken, or nothing works at all.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was looked at, as in `redis appendfsync`.
    pub what: &'static str,
    /// What was found there.
    pub found: String,
    /// What to do about it; empty if nothing.
    pub mend: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            what,
            found: found.into(),
            mend: String::new(),
        }
    }

    /// Something to look after.
    pub fn warn(what: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            mend: mend.into(),
            ..Self::ok(what, found)
        }
    }

    /// Something to mend first.
    pub fn fail(what: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(what, found, mend)
        }
    }

    /// As it should be, or a failure with what mends it.
    pub fn of(
        what: &'static str,
        found: impl Into<String>,
        judged: Result<(), impl std::fmt::Display>,
    ) -> Self {
        match judged {
            Ok(()) => Self::ok(what, found),
            Err(mend) => Self::fail(what, found, mend.to_string()),
        }
    }

    /// What one may not look at is no failure.
    pub fn unseen(what: &'static str, why: impl std::fmt::Display) -> Self {
        let mend = "look yourself, or give the user the right to read it";
        Self::warn(what, format!("could not check: {why}"), mend)
    }

    /// The store cannot be used.
    pub fn unusable(what: &'static str, error: &StoreError) -> Self {
        let mend = "is the address right, does it run, may this user log in?";
        Self::fail(what, full_text(error), mend)
    }

    /// A store's clock, which read `theirs` between two looks at ours.
    pub fn clock(what: &'static str, theirs: Time, ours: Asked) -> Self {
        let Asked { began, ended } = ours;
        let ahead = theirs.since(ended);
        let behind = began.since(theirs);
        let difference = ahead.max(behind);
        let found = match (ahead > Duration::ZERO, behind > Duration::ZERO) {
            (true, _) => format!("{difference:?} ahead of this machine"),
            (_, true) => format!("{difference:?} behind this machine"),
            _ => "as this machine's".to_owned(),
        };
        let mend = "synchronise the clocks of all machines, as by chrony";
        match difference {
            long if long > CLOCKS_FAIL => Self::fail(what, found, mend),
            some if some > CLOCKS_WARN => Self::warn(what, found, mend),
            _ => Self::ok(what, found),
        }
    }
}

/// When something was asked, and when its answer was there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    began: Time,
    ended: Time,
}

impl Asked {
    /// Notes both moments of a call.
    pub async fn around<T>(clock: &dyn Clock, call: impl Future<Output = T>) -> (T, Self) {
        let began = clock.now();
        let answer = call.await;
        let ended = clock.now();
        (answer, Self { began, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(theirs: i64) -> (Verdict, String) {
        let ours = Asked {
            began: Time::from_millis(100_000),
            ended: Time::from_millis(100_200),
        };
        let finding = Finding::clock("a clock", Time::from_millis(theirs), ours);
        (finding.verdict, finding.found)
    }

    #[test]
    fn a_clock_is_judged_by_what_the_call_cannot_explain() {
        for (theirs, verdict, found) in [
            (100_000, Verdict::Ok, "as this machine's"),
            (100_200, Verdict::Ok, "as this machine's"),
            (100_700, Verdict::Ok, "500ms ahead"),
            (102_000, Verdict::Warn, "1.8s ahead"),
            (98_000, Verdict::Warn, "2s behind"),
            (30_000, Verdict::Fail, "70s behind"),
        ] {
            let judged = judged(theirs);
            assert_eq!(judged.0, verdict, "{theirs}: {}", judged.1);
            assert!(judged.1.starts_with(found), "{}", judged.1);
        }
    }
}
