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

/// Four words from four.
pub type Block = [u64; 4];

/// Blocks of several counters at once: their rounds overlap in the processor.
///
/// ```
/// use emo_core::kernels::rsa::philox::blocks;
/// // numpy.random.Philox(key=0, counter=[0, 0, 0, 0]).random_raw()
/// assert_eq!(blocks(0, [[1, 0, 0, 0]])[0][0], 0x02f4_ba64_08e4_d89b);
/// ```
#[inline]
#[must_use]
pub fn blocks<const N: usize>(seed: u64, mut counters: [Block; N]) -> [Block; N] {
    let mut key = [seed, 0];
    for _ in 0..ROUNDS {
        for counter in &mut counters {
            *counter = round(*counter, key);
        }
        key = [key[0].wrapping_add(STEPS[0]), key[1].wrapping_add(STEPS[1])];
    }
    counters
}

#[inline(always)]
fn round(counter: Block, key: [u64; 2]) -> Block {
    let first = u128::from(MULTIPLIERS[0]) * u128::from(counter[0]);
    let second = u128::from(MULTIPLIERS[1]) * u128::from(counter[2]);
    [
        (second >> 64) as u64 ^ counter[1] ^ key[0],
        second as u64,
        (first >> 64) as u64 ^ counter[3] ^ key[1],
        first as u64,
    ]
}
