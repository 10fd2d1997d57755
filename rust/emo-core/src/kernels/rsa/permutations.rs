//! Permutations of n conditions: random ones that can be replayed, or all of them in order.
//!
//! Random permutation `index` of a seed comes from its own Philox stream by Fisher and Yates: for
//! bound = n, n - 1, ... 2 the places bound - 1 and `other` are exchanged, `other` uniform below
//! bound. The bounds are cut, in order, into the longest groups whose product P is at most 2^40; one
//! word w serves a group. For each of its bounds, other = w * bound >> 64, and w becomes w * bound
//! mod 2^64. What is left of w at the end of a group is w * P mod 2^64; a word that leaves less than
//! 2^64 mod P is passed over, so that no value is favoured. (N. Brackett-Rozinsky and D. Lemire,
//! Batched ranged random integer generation, 2024.)

use super::philox::{Block, blocks};
use crate::error::{Error, Result};
use crate::scan::{Control, check_cancel};

/// Largest product of the bounds that share a word.
const LARGEST: u64 = 1 << 40;
/// Blocks that are made together: the first ones of neighbours, the later ones of a permutation.
const TOGETHER: usize = 4;

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

    /// A maker of these permutations.
    #[must_use]
    pub fn orders(self, n: usize) -> Orders {
        match self {
            Self::Random { seed, .. } => Orders::Random(Shuffler::new(n, seed, 0)),
            Self::All => Orders::All,
        }
    }
}

/// Makes the permutations of a source, by index.
#[derive(Clone, Debug)]
pub enum Orders {
    /// Random ones.
    Random(Shuffler),
    /// All but the identity in the order of words.
    All,
}

impl Orders {
    /// Write permutation `index`; fastest when they are asked for in order.
    #[inline]
    pub fn write(&mut self, index: u64, order: &mut [u16]) {
        match self {
            Self::Random(shuffler) => shuffler.write(index, order),
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

/// Bounds that share a word.
#[derive(Clone, Copy, Debug)]
struct Group {
    most: u32,
    least: u32,
    product: u64,
    /// 2^64 mod `product`: words that leave less are passed over.
    too_little: u64,
}

/// Makes the random permutations of one stream.
#[derive(Clone, Debug)]
pub struct Shuffler {
    seed: u64,
    stream: u64,
    groups: Vec<Group>,
    /// As far as 16 bits reach.
    identity: Vec<u16>,
    /// First blocks of neighbouring permutations, from index `ahead_from` on.
    ahead: [Block; TOGETHER],
    ahead_from: u64,
}

impl Shuffler {
    /// For permutations of n.
    #[must_use]
    pub fn new(n: usize, seed: u64, stream: u64) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for bound in (2..=n as u32).rev() {
            match groups.last_mut() {
                Some(group) if group.product * u64::from(bound) <= LARGEST => {
                    group.least = bound;
                    group.product *= u64::from(bound);
                }
                _ => groups.push(Group {
                    most: bound,
                    least: bound,
                    product: u64::from(bound),
                    too_little: 0,
                }),
            }
        }
        for group in &mut groups {
            group.too_little = group.product.wrapping_neg() % group.product;
        }
        let identity = (0..=u16::MAX).take(n).collect();
        let (ahead, ahead_from) = ([[0; 4]; TOGETHER], u64::MAX);
        Self { seed, stream, groups, identity, ahead, ahead_from }
    }

    /// Write permutation `index` over `order`, which has n places, at most 2^16.
    #[inline]
    pub fn write(&mut self, index: u64, order: &mut [u16]) {
        order.copy_from_slice(&self.identity);
        self.shuffle(index, order);
    }

    /// Bring n items into the order of permutation `index`.
    #[inline]
    pub fn shuffle<T>(&mut self, index: u64, order: &mut [T]) {
        let mut words = self.words(index);
        for group in &self.groups {
            let mut word = words.next();
            while word.wrapping_mul(group.product) < group.too_little {
                word = words.next();
            }
            for bound in (group.least..=group.most).rev() {
                let wide = u128::from(word) * u128::from(bound);
                order.swap(bound as usize - 1, (wide >> 64) as usize);
                word = wide as u64;
            }
        }
    }

    #[inline]
    fn words(&mut self, index: u64) -> Words {
        let together = TOGETHER as u64;
        if self.ahead_from != index / together * together {
            self.ahead_from = index / together * together;
            let counter = |at| [1, self.stream, self.ahead_from + at as u64, 0];
            self.ahead = blocks(self.seed, std::array::from_fn(counter));
        }
        let mut ready = [[0; 4]; TOGETHER];
        ready[0] = self.ahead[(index - self.ahead_from) as usize];
        Words { seed: self.seed, last: [1, self.stream, index, 0], ready, used: 0, held: 4 }
    }
}

/// Most places of all permutations that [`random`] writes at once: 4 GiB.
const MAX_PLACES: usize = 1 << 30;

/// The random permutations 0 to `count` - 1 of n items, `(count, n)`.
pub fn random(
    n: usize,
    count: usize,
    seed: u64,
    stream: u64,
    control: &Control,
) -> Result<Vec<u32>> {
    let places = n.checked_mul(count).filter(|places| *places <= MAX_PLACES).ok_or_else(|| {
        let message = format!("{count} permutations of {n} items are too many to hold");
        Error::usage(message).hint(format!("the limit is {MAX_PLACES} places in all"))
    })?;
    let mut orders = vec![0; places];
    let mut shuffler = Shuffler::new(n, seed, stream);
    for (index, order) in orders.chunks_exact_mut(n.max(1)).enumerate() {
        check_cancel(control.cancel)?;
        for (place, slot) in order.iter_mut().enumerate() {
            *slot = place as u32;
        }
        shuffler.shuffle(index as u64, order);
    }
    Ok(orders)
}

/// Words of one permutation.
struct Words {
    seed: u64,
    /// Counter of the last block that is ready.
    last: Block,
    ready: [Block; TOGETHER],
    used: usize,
    held: usize,
}

impl Words {
    #[inline(always)]
    fn next(&mut self) -> u64 {
        if self.used == self.held {
            self.refill();
        }
        self.used += 1;
        self.ready.as_flattened()[self.used - 1]
    }

    fn refill(&mut self) {
        let [block, stream, index, zero] = self.last;
        let counter = |at| [block + 1 + at as u64, stream, index, zero];
        self.ready = blocks(self.seed, std::array::from_fn(counter));
        self.last[0] += TOGETHER as u64;
        (self.used, self.held) = (0, 4 * TOGETHER);
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
