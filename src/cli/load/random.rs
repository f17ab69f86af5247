//! Repeatable randomness: the same seed gives the same groups, senders and texts, so that a red
//! run can be run again. Never used for secrets.

/// A `SplitMix64` generator (Steele, Lea, Flood 2014): small, fast, any seed is a good seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator that starts at `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for the `index`-th part of the run.
    pub fn part(seed: u64, index: usize) -> Self {
        Self(mix(seed ^ mix(index as u64 ^ 0x5851_F42D_4C95_7F2D)))
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        match u64::try_from(bound) {
            Ok(bound) if bound > 0 => usize::try_from(self.word() % bound).unwrap_or(0),
            _ => 0,
        }
    }

    /// One of `items`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// 16 random bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.word().to_be_bytes());
        bytes[8..].copy_from_slice(&self.word().to_be_bytes());
        bytes
    }

    /// `count` different numbers below `bound`, in random order; all of them if there are fewer.
    pub fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..bound).collect();
        for index in 0..count.min(bound) {
            let other = index + self.below(bound - index);
            numbers.swap(index, other);
        }
        numbers.truncate(count);
        numbers
    }
}

/// Spreads every bit of `word` over all others. Without state, so that the tag of a text can be
/// told from its number alone.
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers_and_another_does_not() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.word(), random.word()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn a_sample_holds_different_numbers_below_the_bound() {
        let mut sample = Random::new(1).sample(10, 6);
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 6);
        assert!(sample.iter().all(|number| *number < 10));
        assert_eq!(Random::new(1).sample(3, 9).len(), 3);
    }
}
