//! Permutations of n conditions: random ones that can be replayed, or all of them in order.
//!
//! Permutation `index` of a seed comes from the 32-bit halves of its own Philox stream, the low
//! half of each word first. Fisher and Yates: for `last` from n - 1 down to 1 the places `last` and
//! `other` are exchanged, `other` uniform on 0..=last. With bound = last + 1 a half h gives other =
//! h * bound >> 32; it is refused, and the next half taken, when h * bound mod 2^32 is below 2^32
//! mod bound (Lemire 2019), so that no value is favoured.

use super::philox::Philox;

/// Where the permutations of a test come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `count` random ones.
    Random {
        /// Key of the generator.
        seed: u64,
        /// How many.
        count: u64,
    },
    /// All but the identity, which is the observed one.
    All,
}

impl Source {
    /// Permutations of n conditions that are drawn.
    #[must_use]
    pub fn count(self, n: usize) -> u64 {
        match self {
            Self::Random { count, .. } => count,
            Self::All => factorial(n).saturating_sub(1),
        }
    }

    /// Write permutation `index`.
    #[inline]
    pub fn write(self, index: u64, order: &mut [u16]) {
        match self {
            Self::Random { seed, .. } => shuffle(seed, 0, index, order),
            Self::All => unrank(index + 1, order),
        }
    }
}

/// n!, or the largest number where that is larger.
///
/// ```
/// assert_eq!(emo_core::kernels::rsa::permutations::factorial(11), 39_916_800);
/// ```
#[must_use]
pub fn factorial(n: usize) -> u64 {
    (1..=n as u64).fold(1, u64::saturating_mul)
}

/// Random permutation `index` of a stream.
#[inline]
pub fn shuffle(seed: u64, stream: u64, index: u64, order: &mut [u16]) {
    for (place, slot) in order.iter_mut().enumerate() {
        *slot = place as u16;
    }
    let mut halves = Halves { words: Philox::new(seed, stream, index), kept: None };
    for last in (1..order.len()).rev() {
        let other = halves.below(last as u32 + 1) as usize;
        order.swap(last, other);
    }
}

struct Halves {
    words: Philox,
    kept: Option<u32>,
}

impl Halves {
    #[inline(always)]
    fn next(&mut self) -> u32 {
        if let Some(high) = self.kept.take() {
            return high;
        }
        let word = self.words.word();
        self.kept = Some((word >> 32) as u32);
        word as u32
    }

    #[inline(always)]
    fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.next()) * u64::from(bound);
            let low = product as u32;
            // 2^32 mod bound is below the bound, so the division is rarely needed.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }
}

/// Permutation `rank` in the order of words; 0 is the identity.
pub fn unrank(rank: u64, order: &mut [u16]) {
    let n = order.len();
    for (place, slot) in order.iter_mut().enumerate() {
        *slot = place as u16;
    }
    let mut rest = rank;
    for place in 0..n {
        let weight = factorial(n - 1 - place);
        let ahead = (rest / weight) as usize;
        rest %= weight;
        order[place..=(place + ahead).min(n - 1)].rotate_right(1);
    }
}
