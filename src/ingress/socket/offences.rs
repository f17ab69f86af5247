//! How much a client may do wrong before it is closed: a fault now and then is told and forgiven,
//! a client that goes on costs more than it is worth.

use super::commands::Offence;
use crate::protocol::code::ErrorCode;

/// Invalid frames within a minute before the client is closed with 4400.
const INVALID_MAX: u32 = 100;

/// Frames refused by a limit within a minute before the client is closed with 4429. This is what
/// abuse is: a client that waits as it was told is refused once in a while, one that only
/// repeats what was refused comes here within moments.
const TOO_OFTEN_MAX: u32 = 100;

/// The offences of one client, by the minute.
#[derive(Debug, Default)]
pub(super) struct Offences {
    minute: u64,
    invalid: u32,
    too_often: u32,
}

impl Offences {
    /// Notes an offence at this second.
    pub(super) fn note(&mut self, offence: Offence, now_s: u64) {
        if now_s / 60 != self.minute {
            *self = Self {
                minute: now_s / 60,
                ..Self::default()
            };
        }
        match offence {
            Offence::Invalid => self.invalid += 1,
            Offence::TooOften => self.too_often += 1,
        }
    }

    /// Notes how a frame went.
    pub(super) fn note_if(&mut self, done: Result<(), Offence>, now_s: u64) {
        if let Err(offence) = done {
            self.note(offence, now_s);
        }
    }

    /// What the client is to be closed for.
    pub(super) const fn abuse(&self) -> Option<(ErrorCode, &'static str)> {
        if self.invalid >= INVALID_MAX {
            Some((ErrorCode::BadRequest, "too many invalid frames"))
        } else if self.too_often >= TOO_OFTEN_MAX {
            Some((ErrorCode::RateLimited, "too many requests"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abuse(offences: &Offences) -> Option<ErrorCode> {
        offences.abuse().map(|(code, _)| code)
    }

    #[test]
    fn a_hundred_offences_of_one_kind_within_a_minute_are_abuse() {
        for (offence, code) in [
            (Offence::Invalid, ErrorCode::BadRequest),
            (Offence::TooOften, ErrorCode::RateLimited),
        ] {
            let mut offences = Offences::default();
            (0..99).for_each(|_| offences.note(offence, 60));
            assert_eq!(abuse(&offences), None);
            offences.note(offence, 119);
            assert_eq!(abuse(&offences), Some(code));
        }
    }

    #[test]
    fn another_minute_begins_anew() {
        let mut offences = Offences::default();
        (0..99).for_each(|_| offences.note(Offence::TooOften, 60));
        offences.note(Offence::TooOften, 120);
        assert_eq!(abuse(&offences), None);
    }
}
