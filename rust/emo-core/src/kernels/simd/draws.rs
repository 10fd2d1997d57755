//! Eight neighbouring random permutations at once, see [`permutations`].
//!
//! [`permutations`]: crate::kernels::rsa::permutations

use super::Tier;
#[cfg(target_arch = "x86_64")]
use super::{Instructions, dispatch};
#[cfg(target_arch = "x86_64")]
use crate::kernels::philox::halves;
use crate::kernels::philox::{blocks, whole};

/// Permutations that are drawn together.
pub const LANES: usize = 8;

/// Neighbouring bounds that share a random word.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The largest bound.
    pub most: u32,
    /// The smallest.
    pub least: u32,
    /// Product of all of them.
    pub product: u64,
    /// 2^64 mod `product`: words that leave less are passed over.
    pub too_little: u64,
}

/// Draw what the permutations `first` to `first + LANES - 1` of a stream exchange.
///
/// The number below bound b is `others[b - 1]`, for each permutation. It comes from the first word of
/// its group; returned is for which permutations one of these should have been passed over.
///
/// # Panics
/// When a bound is above the length of `others`.
pub fn draw(
    tier: Tier,
    (seed, stream, first): (u64, u64, u64),
    groups: &[Group],
    others: &mut [[u16; LANES]],
) -> [bool; LANES] {
    let stream = (seed, stream, first);
    #[cfg(target_arch = "x86_64")]
    if matches!(tier.0, Instructions::Avx2 | Instructions::Avx512) {
        return dispatch!(tier, in_vectors(
            stream: (u64, u64, u64) = stream, groups: &[Group] = groups,
            others: &mut [[u16; LANES]] = others
        ) -> [bool; LANES]);
    }
    let _ = tier;
    drawn(stream, groups, others, whole)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn in_vectors(
    stream: (u64, u64, u64),
    groups: &[Group],
    others: &mut [[u16; LANES]],
) -> [bool; LANES] {
    drawn(stream, groups, others, halves)
}

#[inline(always)]
fn drawn(
    (seed, stream, first): (u64, u64, u64),
    groups: &[Group],
    others: &mut [[u16; LANES]],
    multiply: impl Fn(u64, u64) -> [u64; 2] + Copy,
) -> [bool; LANES] {
    let mut redo = [false; LANES];
    let indices = std::array::from_fn(|lane| first.wrapping_add(lane as u64));
    for (block, groups) in groups.chunks(4).enumerate() {
        let counters = [[1 + block as u64; LANES], [stream; LANES], indices, [0; LANES]];
        for (mut words, group) in blocks(seed, counters, multiply).into_iter().zip(groups) {
            let places = &mut others[group.least as usize - 1..group.most as usize];
            for (place, other) in places.iter_mut().enumerate().rev() {
                let bound = u64::from(group.least + place as u32);
                for lane in 0..LANES {
                    let [low, high] = multiply(words[lane], bound);
                    words[lane] = low;
                    other[lane] = high as u16;
                }
            }
            for lane in 0..LANES {
                redo[lane] |= words[lane] < group.too_little;
            }
        }
    }
    redo
}
