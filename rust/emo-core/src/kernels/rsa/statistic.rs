//! The compared numbers, prepared once, and their correlation under a permutation.
//!
//! With a and b the upper triangles, centred, r(pi) = sum over i < j of a[i, j] b[pi(i), pi(j)] /
//! (|a| |b|); a permutation changes the sum alone. Spearman: a and b are doubled average ranks
//! minus P + 1 (P pairs), integers, so that sums and ties are exact. Pearson: a and b have unit
//! length, and two sums tie when they differ by at most [`TIE`], far above the rounding of a sum
//! (below 3e-17 P, so below 6e-11 for 2048 conditions) and far below a real difference.

use crate::error::{Error, Result};

/// Fewest conditions that are tested.
pub const MIN_CONDITIONS: usize = 4;
/// Most conditions, so that integer sums fit.
pub const MAX_CONDITIONS: usize = 2048;
/// Pearson correlations that differ by no more are ties.
pub const TIE: f64 = 1e-10;
/// Dissimilarities that differ by no more than this share of the largest have one rank.
const SAME: f64 = 1e-12;

/// Which correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// Of the values.
    Pearson,
    /// Of their average ranks.
    Spearman,
}

impl Correlation {
    /// The correlation of a name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "pearson" => Ok(Self::Pearson),
            "spearman" => Ok(Self::Spearman),
            _ => {
                Err(Error::usage(format!("correlation is {name:?}"))
                    .hint("known: pearson, spearman"))
            }
        }
    }
}

/// A number of a prepared matrix: `f64` for Pearson, `i64` for Spearman.
pub trait Cell: Copy + PartialOrd + Send + Sync + 'static {
    /// Zero.
    const ZERO: Self;
    /// Whether numbers are whole.
    const WHOLE: bool;
    /// Below every sum.
    const LOWEST: Self;
    /// How far two sums may be apart and still tie.
    const SLACK: Self;
    /// Centre (and scale) an upper triangle.
    fn prepare(triangle: &[f64]) -> Vec<Self>;
    /// Sum.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// Product.
    #[must_use]
    fn times(self, other: Self) -> Self;
    /// Size.
    #[must_use]
    fn size(self) -> Self;
    /// As a double.
    fn real(self) -> f64;
}

impl Cell for f64 {
    const ZERO: Self = 0.0;
    const WHOLE: bool = false;
    const LOWEST: Self = f64::NEG_INFINITY;
    const SLACK: Self = TIE;

    fn prepare(triangle: &[f64]) -> Vec<Self> {
        let n = triangle.len() as f64;
        let largest = triangle.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let scaled: Vec<f64> = triangle.iter().map(|value| value / largest).collect();
        let mean = scaled.iter().sum::<f64>() / n;
        let norm = scaled.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>().sqrt();
        scaled.iter().map(|value| (value - mean) / norm).collect()
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }

    fn size(self) -> Self {
        self.abs()
    }

    fn real(self) -> f64 {
        self
    }
}

impl Cell for i64 {
    const ZERO: Self = 0;
    const WHOLE: bool = true;
    const LOWEST: Self = i64::MIN;
    const SLACK: Self = 0;

    fn prepare(triangle: &[f64]) -> Vec<Self> {
        let mut order: Vec<(f64, usize)> =
            triangle.iter().enumerate().map(|(at, value)| (*value, at)).collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let apart = SAME * triangle.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let mut ranks = vec![0; triangle.len()];
        let mut begin = 0;
        for group in order.chunk_by(|a, b| b.0 - a.0 <= apart) {
            let end = begin + group.len();
            for (_, at) in group {
                ranks[*at] = (begin + 1 + end) as i64 - (triangle.len() as i64 + 1);
            }
            begin = end;
        }
        ranks
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn times(self, other: Self) -> Self {
        self * other
    }

    fn size(self) -> Self {
        self.abs()
    }

    fn real(self) -> f64 {
        self as f64
    }
}

/// One prepared dissimilarity matrix.
#[derive(Clone, Debug)]
pub struct Prepared<C> {
    n: usize,
    /// Symmetric `[n, n]`, zeros on the diagonal.
    full: Vec<C>,
    /// Length of the upper triangle.
    norm: f64,
}

impl<C: Cell> Prepared<C> {
    /// Check and prepare the dissimilarities `[n, n]` called `name`; the upper triangle is read.
    pub fn new(distances: &[f64], n: usize, name: &str) -> Result<Self> {
        check_conditions(n)?;
        if distances.len() != n * n {
            let length = distances.len();
            return Err(Error::usage(format!("{name} has {length} values for {n} conditions")));
        }
        let cells = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let triangle: Vec<f64> = cells.clone().map(|(i, j)| distances[i * n + j]).collect();
        check_spread(&triangle, cells.clone(), name)?;
        let prepared = C::prepare(&triangle);
        let norm = prepared.iter().map(|value| value.real() * value.real()).sum::<f64>().sqrt();
        let mut full = vec![C::ZERO; n * n];
        for ((i, j), value) in cells.zip(prepared) {
            full[i * n + j] = value;
            full[j * n + i] = value;
        }
        Ok(Self { n, full, norm })
    }

    /// Conditions.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Length of the upper triangle.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.norm
    }

    /// Row `at` of the symmetric matrix.
    #[must_use]
    pub fn row(&self, at: usize) -> &[C] {
        &self.full[at * self.n..][..self.n]
    }

    /// Upper triangle, row by row.
    pub fn triangle(&self) -> impl Iterator<Item = C> {
        (0..self.n).flat_map(|at| self.row(at)[at + 1..].iter().copied())
    }

    /// Sum over i < j of this at (i, j) times `other` at (order[i], order[j]).
    #[must_use]
    pub fn product(&self, other: &Self, order: &[u16]) -> C {
        let mut lanes = [C::ZERO; 4];
        for (at, first) in order.iter().enumerate() {
            let (row, source) = (&self.row(at)[at + 1..], other.row(usize::from(*first)));
            for (lane, (value, second)) in row.iter().zip(&order[at + 1..]).enumerate() {
                let sum = &mut lanes[lane % 4];
                *sum = sum.plus(value.times(source[usize::from(*second)]));
            }
        }
        lanes[0].plus(lanes[1]).plus(lanes[2].plus(lanes[3]))
    }
}

fn check_conditions(n: usize) -> Result<()> {
    if n < MIN_CONDITIONS {
        return Err(Error::numerical(format!("{n} conditions allow no test"))
            .hint("compare at least 4 conditions, better 8 or more"));
    }
    if n > MAX_CONDITIONS {
        return Err(Error::usage(format!(
            "{n} conditions are too many, the limit is {MAX_CONDITIONS}"
        )));
    }
    Ok(())
}

fn check_spread(
    triangle: &[f64],
    mut cells: impl Iterator<Item = (usize, usize)>,
    name: &str,
) -> Result<()> {
    if let Some(at) = triangle.iter().position(|value| !value.is_finite()) {
        let (i, j) = cells.nth(at).unwrap_or_default();
        let value = triangle[at];
        return Err(Error::numerical(format!("{name} holds {value} in row {i}, column {j}")));
    }
    let low = triangle.iter().copied().fold(f64::INFINITY, f64::min);
    let high = triangle.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high - low <= SAME * high.abs().max(low.abs()) {
        return Err(Error::numerical(format!(
            "all dissimilarities of {name} are {high}, their correlation does not exist"
        ))
        .hint("check that the vectors differ, or take another metric"));
    }
    Ok(())
}

/// Two prepared matrices with their observed correlation.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a, C> {
    /// Stays in place.
    pub a: &'a Prepared<C>,
    /// Is permuted.
    pub b: &'a Prepared<C>,
    /// Observed sum.
    pub observed: C,
    /// Whether large negative correlations count as well.
    pub two_sided: bool,
}

/// How a permutation compares with what was observed.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Its correlation, or the size of it in a two-sided test.
    pub r: f64,
    /// At least as large as the observed one.
    pub exceeds: bool,
    /// Equal to the observed one.
    pub tie: bool,
}

impl<'a, C: Cell> Pair<'a, C> {
    /// Pair two matrices of the same conditions.
    #[must_use]
    pub fn new(a: &'a Prepared<C>, b: &'a Prepared<C>, two_sided: bool) -> Self {
        let identity: Vec<u16> = (0..a.n as u16).collect();
        Self { a, b, observed: a.product(b, &identity), two_sided }
    }

    /// Product of the lengths: a sum over it is a correlation.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.a.norm * self.b.norm
    }

    /// Observed correlation.
    #[must_use]
    pub fn r(&self) -> f64 {
        (self.observed.real() / self.scale()).clamp(-1.0, 1.0)
    }

    /// The observed sum, or its size in a two-sided test.
    #[must_use]
    pub fn limit(&self) -> C {
        self.sized(self.observed)
    }

    /// A sum, or its size in a two-sided test.
    #[inline(always)]
    pub fn sized(&self, sum: C) -> C {
        if self.two_sided { sum.size() } else { sum }
    }

    /// Compare permutation `order` with the observed one.
    #[must_use]
    pub fn judge(&self, order: &[u16]) -> Verdict {
        let (sum, limit) = (self.sized(self.a.product(self.b, order)), self.limit());
        Verdict {
            r: (sum.real() / self.scale()).clamp(-1.0, 1.0),
            exceeds: sum.plus(C::SLACK) >= limit,
            tie: sum.plus(C::SLACK) >= limit && limit.plus(C::SLACK) >= sum,
        }
    }
}
