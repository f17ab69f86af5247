//! Which digits a process should hold: rendezvous hashing over the processes that live, so that
//! one alone takes all and a newcomer takes only its own share.

use redis::Cmd;
use sha2::{Digest as _, Sha256};

use super::keys;
use super::library::{Function, Library};

/// The call by which `me` says that it lives for so many milliseconds; it answers who lives.
pub(super) fn beat(library: &Library, me: &str, millis: u64) -> Cmd {
    let mut beat = library.call(Function::Beat, &[keys::NODES.to_owned()]);
    beat.arg(me).arg(millis);
    beat
}

/// The call by which `me` takes these digits for so many milliseconds and gives up all others; it
/// answers those that it holds.
pub(super) fn lease(library: &Library, me: &str, millis: u64, digits: Digits) -> Cmd {
    let mut lease = library.call(Function::Lease, &[keys::OWNERS.to_owned()]);
    lease.arg(me).arg(millis).arg(digits.to_text());
    lease
}

/// A set of first hex digits of partitions: what leases and doorbells go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Digits(u16);

impl Digits {
    pub(super) const NONE: Self = Self(0);
    #[cfg(test)]
    pub(super) const ALL: Self = Self(u16::MAX);

    pub(super) const fn contains(self, digit: u8) -> bool {
        digit < 16 && self.0 & (1 << digit) != 0
    }

    pub(super) const fn with(self, digit: u8) -> Self {
        Self(self.0 | (1 << (digit & 15)))
    }

    /// Those of `self` that are not in `other`.
    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..16).filter(move |digit| self.contains(*digit))
    }

    /// As hex digits in ascending order.
    pub(super) fn to_text(self) -> String {
        self.iter().map(|digit| format!("{digit:x}")).collect()
    }

    /// The digits of a text; anything else in it is left out.
    pub(super) fn from_text(text: &str) -> Self {
        let digits = text
            .chars()
            .filter_map(|c| u8::try_from(c.to_digit(16)?).ok());
        digits.fold(Self::NONE, Self::with)
    }
}

/// The digits that belong to `me` among the living.
pub(super) fn share(me: &str, nodes: &[String]) -> Digits {
    let best = |digit: u8| nodes.iter().max_by_key(|node| score(node, digit));
    (0..16)
        .filter(|digit| best(*digit).is_some_and(|node| node == me))
        .fold(Digits::NONE, Digits::with)
}

/// The same for every process, of whatever version.
fn score(node: &str, digit: u8) -> [u8; 32] {
    Sha256::new()
        .chain_update(node)
        .chain_update([digit])
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_digit_has_exactly_one_owner() {
        let all = nodes(&["a", "b", "c"]);
        for digit in 0..16 {
            let owners = all.iter().filter(|node| share(node, &all).contains(digit));
            assert_eq!(owners.count(), 1, "{digit}");
        }
        assert_eq!(share("a", &nodes(&["a"])).to_text(), "0123456789abcdef");
        assert_eq!(share("a", &nodes(&["b"])), Digits::NONE);
    }

    #[test]
    fn a_newcomer_moves_only_what_becomes_its_own() {
        let (two, three) = (nodes(&["a", "b"]), nodes(&["a", "b", "c"]));
        let moved = share("a", &two).without(share("a", &three));
        assert_eq!(moved.without(share("c", &three)), Digits::NONE);
        assert_eq!(share("a", &three).without(share("a", &two)), Digits::NONE);
    }

    #[test]
    fn digits_read_back() {
        let digits = Digits::from_text("0af");
        assert_eq!(digits.to_text(), "0af");
        assert!(digits.contains(15) && !digits.contains(1));
        assert_eq!(digits.both(Digits::from_text("a1")), Digits::from_text("a"));
    }
}
