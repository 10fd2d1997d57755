//! Permutations of n conditions: random ones that can be replayed, or all of them in order.
//!
//! Random permutation `index` of a seed comes from its own Philox stream by Fisher and Yates: for
//! bound = n, n - 1, ... 2 the places bound - 1 and `other` are exchanged, `other` uniform below
//! bound. The bounds are cut, in order, into the longest groups whose product P is at most 2^40; one
//! word w serves a group. For each of its bounds, other = w * bound >> 64, and w becomes w * bound
//! mod 2^64. What is left of w at the end of a group is w * P mod 2^64; a word that leaves less than
//! 2^64 mod P is passed over, so that no value is favoured. (N. Brackett-Rozinsky and D. Lemire,
//! Batched ranged random integer generation, 2024.)

use crate::error::{Error, Result};
use crate::kernels::philox::{Blocks, blocks, whole};
use crate::kernels::simd::Tier;
use crate::kernels::simd::draws::{self, Group, LANES};
use crate::scan::{Control, check_cancel};

/// Largest product of the bounds that share a word.
const LARGEST: u64 = 1 << 40;
/// Blocks of a permutation that are made together, where it is drawn by itself.
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

    /// A maker of these permutations of n conditions, at most 2^16.
    #[must_use]
    pub fn orders(self, tier: Tier, n: usize) -> Orders {
        match self {
            Self::Random { seed, .. } => Orders::Random(Shuffler::new(tier, n, seed, 0)),
            Self::All => Orders::All(vec![0; n]),
        }
    }
}

/// Makes the permutations of a source, by index.
#[derive(Clone, Debug)]
pub enum Orders {
    /// Random ones.
    Random(Shuffler),
    /// All but the identity in the order of words; the last one asked for.
    All(Vec<u16>),
}

impl Orders {
    /// Permutation `index`; fastest when they are asked for in order.
    #[inline]
    pub fn get(&mut self, index: u64) -> &[u16] {
        match self {
            Self::Random(shuffler) => shuffler.get(index),
            Self::All(order) => {
                unrank(index + 1, order);
                order
            }
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

/// Makes the random permutations of one stream, as many at once as the vectors draw.
#[derive(Clone, Debug)]
pub struct Shuffler {
    tier: Tier,
    n: usize,
    seed: u64,
    stream: u64,
    groups: Vec<Group>,
    /// Permutations `from` to `from + LANES - 1`, one after the other, and what they exchange.
    orders: Vec<u16>,
    from: u64,
    others: Vec<[u16; LANES]>,
}

impl Shuffler {
    /// For permutations of n, at most 2^16.
    #[must_use]
    pub fn new(tier: Tier, n: usize, seed: u64, stream: u64) -> Self {
        let (orders, others) = (vec![0; n * LANES], vec![[0; LANES]; n]);
        Self { tier, n, seed, stream, groups: groups(n), orders, from: u64::MAX, others }
    }

    /// Permutation `index`; fastest when they are asked for in order.
    #[inline]
    pub fn get(&mut self, index: u64) -> &[u16] {
        let lane = index % LANES as u64;
        if self.from != index - lane {
            self.draw(index - lane);
        }
        &self.orders[lane as usize * self.n..][..self.n]
    }

    fn draw(&mut self, from: u64) {
        let (n, stream) = (self.n, (self.seed, self.stream, from));
        let redo = draws::draw(self.tier, stream, &self.groups, &mut self.others);
        self.orders.chunks_exact_mut(n.max(1)).for_each(identity);
        // One exchange of each in turn: they do not wait for one another.
        for (place, others) in self.others.iter().enumerate().rev() {
            for (order, other) in self.orders.chunks_exact_mut(n).zip(others) {
                order.swap(place, usize::from(*other));
            }
        }
        for (lane, order) in self.orders.chunks_exact_mut(n.max(1)).enumerate() {
            if redo[lane] {
                identity(order);
                shuffle(&self.groups, (self.seed, self.stream, from + lane as u64), order);
            }
        }
        self.from = from;
    }
}

fn identity(order: &mut [u16]) {
    for (place, slot) in order.iter_mut().enumerate() {
        *slot = place as u16;
    }
}

fn groups(n: usize) -> Vec<Group> {
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
    groups
}

/// Bring n items into the order of one permutation of a stream.
fn shuffle<T>(groups: &[Group], stream: (u64, u64, u64), order: &mut [T]) {
    let mut words = Words::new(stream);
    for group in groups {
        let mut word = words.next();
        while word.wrapping_mul(group.product) < group.too_little {
            word = words.next();
        }
        for bound in (group.least..=group.most).rev() {
            let [left, other] = whole(word, u64::from(bound));
            order.swap(bound as usize - 1, other as usize);
            word = left;
        }
    }
}

/// Words of one permutation.
struct Words {
    seed: u64,
    /// Counters of the blocks that come next.
    counters: Blocks<TOGETHER>,
    ready: Blocks<TOGETHER>,
    used: usize,
}

impl Words {
    fn new((seed, stream, index): (u64, u64, u64)) -> Self {
        let block = std::array::from_fn(|at| 1 + at as u64);
        let counters = [block, [stream; TOGETHER], [index; TOGETHER], [0; TOGETHER]];
        Self { seed, counters, ready: counters, used: 4 * TOGETHER }
    }

    fn next(&mut self) -> u64 {
        if self.used == 4 * TOGETHER {
            self.ready = blocks(self.seed, self.counters, whole);
            self.counters[0].iter_mut().for_each(|block| *block += TOGETHER as u64);
            self.used = 0;
        }
        self.used += 1;
        self.ready[(self.used - 1) % 4][(self.used - 1) / 4]
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
    let (mut orders, groups) = (vec![0; places], groups(n));
    for (index, order) in orders.chunks_exact_mut(n.max(1)).enumerate() {
        check_cancel(control.cancel)?;
        for (place, slot) in order.iter_mut().enumerate() {
            *slot = place as u32;
        }
        shuffle(&groups, (seed, stream, index as u64), order);
    }
    Ok(orders)
}

/// Permutation `rank` in the order of words; 0 is the identity.
pub fn unrank(rank: u64, order: &mut [u16]) {
    let n = order.len();
    identity(order);
    let mut rest = rank;
    for place in 0..n {
        let weight = factorial(n - 1 - place);
        let ahead = (rest / weight) as usize;
        rest %= weight;
        order[place..=(place + ahead).min(n - 1)].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tiers_draw_together_what_is_drawn_alone() {
        for n in [0, 1, 2, 30, 75, 171, 700] {
            let real = groups(n);
            let mut often = real.clone();
            for (at, group) in often.iter_mut().enumerate() {
                group.too_little = [1 << 62, 0, 1 << 58][at % 3];
            }
            for (groups, tier) in
                Tier::available_tiers().flat_map(|tier| [(&real, tier), (&often, tier)])
            {
                let mut shuffler = Shuffler::new(tier, n, 5, 2);
                shuffler.groups.clone_from(groups);
                for index in (0..100).chain(u64::MAX - 100..=u64::MAX) {
                    let mut alone = vec![0; n];
                    identity(&mut alone);
                    shuffle(groups, (5, 2, index), &mut alone);
                    assert_eq!(shuffler.get(index), alone, "{n}, {index}, {}", tier.name());
                }
            }
        }
    }
}
