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
/// Blocks made together: their rounds overlap in the processor.
const TOGETHER: usize = 4;

/// Words of one stream.
#[derive(Clone, Debug)]
pub struct Philox {
    seed: u64,
    stream: u64,
    index: u64,
    block: u64,
    words: [u64; 4 * TOGETHER],
    used: usize,
}

impl Philox {
    /// The stream's start.
    ///
    /// ```
    /// use emo_core::kernels::rsa::philox::Philox;
    /// // numpy.random.Philox(key=0, counter=[0, 0, 0, 0]).random_raw()
    /// assert_eq!(Philox::new(0, 0, 0).word(), 0x87cc_0e34_9476_4fa3);
    /// ```
    #[must_use]
    pub fn new(seed: u64, stream: u64, index: u64) -> Self {
        Self { seed, stream, index, block: 0, words: [0; 4 * TOGETHER], used: 4 * TOGETHER }
    }

    /// Next word.
    #[inline]
    pub fn word(&mut self) -> u64 {
        if self.used == self.words.len() {
            self.words = self.blocks();
            self.block += TOGETHER as u64;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    #[inline]
    fn blocks(&self) -> [u64; 4 * TOGETHER] {
        let mut key = [self.seed, 0];
        let mut counters = [[0, self.stream, self.index, 0]; TOGETHER];
        for (at, counter) in (1..).zip(&mut counters) {
            counter[0] = self.block + at;
        }
        for _ in 0..ROUNDS {
            for counter in &mut counters {
                *counter = round(*counter, key);
            }
            key = [key[0].wrapping_add(STEPS[0]), key[1].wrapping_add(STEPS[1])];
        }
        let mut words = [0; 4 * TOGETHER];
        for (word, value) in words.iter_mut().zip(counters.iter().flatten()) {
            *word = *value;
        }
        words
    }
}

#[inline(always)]
fn round(counter: [u64; 4], key: [u64; 2]) -> [u64; 4] {
    let first = u128::from(MULTIPLIERS[0]) * u128::from(counter[0]);
    let second = u128::from(MULTIPLIERS[1]) * u128::from(counter[2]);
    [
        (second >> 64) as u64 ^ counter[1] ^ key[0],
        second as u64,
        (first >> 64) as u64 ^ counter[3] ^ key[1],
        first as u64,
    ]
}
