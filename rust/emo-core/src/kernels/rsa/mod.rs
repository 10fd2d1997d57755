//! Permutation tests of representational similarity.
//!
//! Two dissimilarity matrices `[n, n]` of the same n conditions are correlated over their n (n - 1)
//! / 2 pairs; the null is the same after a permutation of the conditions of the second matrix.
//! b of m random permutations reach the observed correlation: p = (b + 1) / (m + 1); of all n! of
//! them, the identity included, p = b / n!. O(n^2) for each permutation.
//!
//! Each permutation is first measured in 16-bit integers with a proven bound of the error
//! ([`screen`]); the few that the bound leaves open are judged by the exact statistic
//! ([`statistic`]). So counts and maxima are those of the exact statistic, the same for any number
//! of threads and any instructions. The mean of the null is that of the integers: exact for ranks
//! of up to about 90 conditions, otherwise within the bound (some 1e-4; in practice below 1e-6, as
//! the errors of single permutations average out).

pub mod dissimilarity;
pub mod exact;
pub mod grid;
pub mod permutations;
mod sampled;
pub mod screen;
pub mod statistic;

pub use dissimilarity::{Metric, dissimilarity};
pub use grid::{Grid, rsa_grid};

use crate::error::{Error, Result};
use crate::scan::Control;
use permutations::{Source, factorial};
use statistic::{Cell, Correlation, Pair, Prepared};

/// Most random permutations.
pub const MAX_PERMUTATIONS: u64 = 1_000_000_000;

/// Conditions from which on it pays to prepare two matrices at once.
const TWO_AT_ONCE: usize = 64;

/// How to test.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of values or of ranks.
    pub correlation: Correlation,
    /// Random permutations; all of them are taken when there are no more than this.
    pub permutations: u64,
    /// Take all permutations.
    pub exact: bool,
    /// Count large negative correlations too.
    pub two_sided: bool,
    /// Key of the random permutations.
    pub seed: u64,
}

impl Options {
    /// Where the permutations of n conditions come from.
    pub fn source(&self, n: usize) -> Result<Source> {
        if self.exact || self.permutations >= factorial(n) {
            exact::check_exact(n)?;
            return Ok(Source::All);
        }
        if !(1..=MAX_PERMUTATIONS).contains(&self.permutations) {
            let message =
                format!("{} permutations, 1 to {MAX_PERMUTATIONS} are", self.permutations);
            return Err(Error::usage(format!("{message} possible")).hint("take 10000"));
        }
        Ok(Source::Random { seed: self.seed, count: self.permutations })
    }
}

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Observed correlation.
    pub r: f64,
    /// Share of permutations at least as large, see the module.
    pub p: f64,
    /// Permutations used; n! when exact.
    pub permutations: u64,
    /// Whether all were used.
    pub exact: bool,
    /// Permutations at least as large as the observed one.
    pub exceeding: u64,
    /// Those among them that equal it.
    pub ties: u64,
    /// Mean correlation over the permutations, the identity left out when exact.
    pub null_mean: f64,
    /// Largest correlation (or size of it when two-sided) over the same.
    pub null_max: f64,
}

impl Outcome {
    fn new(r: f64, tally: Tally, null_mean: f64, permutations: u64, exact: bool) -> Self {
        let Tally { exceeding, ties, largest: null_max } = tally;
        let p = share(exceeding, permutations, exact);
        Self { r, p, permutations, exact, exceeding, ties, null_mean, null_max }
    }
}

/// p of `exceeding` among `permutations`.
fn share(exceeding: u64, permutations: u64, exact: bool) -> f64 {
    let observed = u64::from(!exact);
    (exceeding + observed) as f64 / (permutations + observed) as f64
}

/// Counts of one range of permutations.
#[derive(Clone, Copy, Debug)]
struct Tally {
    exceeding: u64,
    ties: u64,
    largest: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { exceeding: 0, ties: 0, largest: f64::NEG_INFINITY }
    }
}

/// Correlate dissimilarities `x` and `y`, both `[n, n]`, and test it.
pub fn rsa(
    x: &[f64],
    y: &[f64],
    n: usize,
    options: &Options,
    control: &Control,
) -> Result<Outcome> {
    match options.correlation {
        Correlation::Pearson => test::<f64>(x, y, n, options, control),
        Correlation::Spearman => test::<i64>(x, y, n, options, control),
    }
}

fn test<C: Cell>(
    x: &[f64],
    y: &[f64],
    n: usize,
    options: &Options,
    control: &Control,
) -> Result<Outcome> {
    let (a, b) = (|| Prepared::<C>::new(x, n, "x"), || Prepared::<C>::new(y, n, "y"));
    let (a, b) = if n < TWO_AT_ONCE { (a(), b()) } else { rayon::join(a, b) };
    let (a, b) = (a?, b?);
    let pair = Pair::new(&a, &b, options.two_sided);
    match options.source(n)? {
        Source::All => exact::enumerate(&pair, control),
        source @ Source::Random { .. } => sampled::sample(&pair, source, control),
    }
}
