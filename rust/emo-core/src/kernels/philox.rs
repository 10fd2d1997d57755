//! Philox4x64-10, the counter-based generator of `numpy.random.Philox`.
//!
//! A stream is named by (seed, stream, index): the key is (seed, 0), the counter of its block b is
//! (b, stream, index, 0) with b from 1 on. `numpy.random.Philox(key=seed, counter=[0, stream, index,
//! 0])` adds 1 to its counter before the first block and so gives the same words.
//!
//! J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC'11.

const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const STEPS: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const ROUNDS: usize = 10;

/// N blocks of four words: first words, second words, and so on, so that vectors hold them.
pub type Blocks<const N: usize> = [[u64; N]; 4];

/// Blocks of several counters at once; [`whole`] or [`halves`] multiplies.
///
/// ```
/// use emo_core::kernels::philox::{blocks, halves, whole};
/// // numpy.random.Philox(key=0, counter=[0, 0, 0, 0]).random_raw()
/// assert_eq!(blocks(0, [[1], [0], [0], [0]], whole)[0], [0x02f4_ba64_08e4_d89b]);
/// assert_eq!(blocks(0, [[1], [0], [0], [0]], halves)[0], [0x02f4_ba64_08e4_d89b]);
/// ```
#[inline(always)]
#[must_use]
pub fn blocks<const N: usize>(
    seed: u64,
    mut counters: Blocks<N>,
    multiply: impl Fn(u64, u64) -> [u64; 2],
) -> Blocks<N> {
    let mut key = [seed, 0];
    for _ in 0..ROUNDS {
        let mut next = [[0; N]; 4];
        for at in 0..N {
            let [low, high] = multiply(MULTIPLIERS[0], counters[0][at]);
            let [low_2, high_2] = multiply(MULTIPLIERS[1], counters[2][at]);
            next[0][at] = high_2 ^ counters[1][at] ^ key[0];
            next[1][at] = low_2;
            next[2][at] = high ^ counters[3][at] ^ key[1];
            next[3][at] = low;
        }
        counters = next;
        key = [key[0].wrapping_add(STEPS[0]), key[1].wrapping_add(STEPS[1])];
    }
    counters
}

/// Lower and upper word of a product, as processors multiply words.
#[inline(always)]
#[must_use]
pub fn whole(a: u64, b: u64) -> [u64; 2] {
    let product = u128::from(a) * u128::from(b);
    [product as u64, (product >> 64) as u64]
}

/// Lower and upper word of a product, as vectors multiply halves of words.
#[inline(always)]
#[must_use]
pub fn halves(a: u64, b: u64) -> [u64; 2] {
    let split = |word: u64| [word & u64::from(u32::MAX), word >> 32];
    let (a, b) = (split(a), split(b));
    let lowest = a[0] * b[0];
    let middle = a[1] * b[0] + (lowest >> 32);
    let rest = a[0] * b[1] + split(middle)[0];
    [rest << 32 | split(lowest)[0], a[1] * b[1] + (middle >> 32) + (rest >> 32)]
}
