//! Chance, from one seed.

/// A stream of numbers that a seed decides wholly (SplitMix64; numbers: Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

/// Of ten thousand: how often something happens.
pub(super) type Rate = u32;

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream of the same seed, for what was added later: what was drawn before stays as it was.
    pub(super) fn aside(&self) -> Self {
        Self(self.0 ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    /// A third stream, for what was added after that.
    pub(super) fn another_aside(&self) -> Self {
        Self(self.0 ^ 0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(super) fn chance(&mut self, rate: Rate) -> bool {
        // Drawn even where nothing can come of it, so that what follows does not hang on a rate being zero.
        self.next() % 10_000 < u64::from(rate)
    }

    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).unwrap_or(0)]
    }
}
