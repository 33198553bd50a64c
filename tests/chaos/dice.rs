//! Chance that can be repeated: everything a run decides comes from its seed.

use std::ops::Range;

/// A small generator; SplitMix64, whose every seed is as good as another.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of their own for somebody, so that what others do does not change what they do.
    pub(crate) const fn of(seed: u64, whose: u64) -> Self {
        Self(seed ^ whose.wrapping_mul(0xA076_1D64_78BD_642F))
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) const fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// True in so many of a hundred cases.
    pub(crate) const fn percent(&mut self, share: u64) -> bool {
        self.number() % 100 < share
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = usize::try_from(self.number() % list.len() as u64).unwrap();
        &list[index]
    }
}
