//! All pairs of two lists of matrices, permuted once for all.
//!
//! The upper triangles lie side by side, so that a permutation moves whole rows of numbers, one for
//! each matrix of the second list, and the sums of all pairs are one product of matrices in 16-bit
//! integers. O(a b n^2) for each permutation. The largest correlation over all pairs of each
//! permutation gives p-values that hold for the family (Westfall and Young's max statistic).

use rayon::prelude::*;

use super::permutations::{Source, factorial};
use super::screen::{Rounded, Screen};
use super::statistic::{Cell, Correlation, Pair, Prepared, TIE};
use super::{Options, sampled, share};
use crate::error::{Error, Result};
use crate::kernels::simd::outer::{Columns, Factors, LANES, Limits, Sums, Tile};
use crate::scan::{Control, check_cancel};

/// Length of a triangle of integers: with the rounding its square stays below 2^31.
const LONGEST: f64 = 45_000.0;
/// Largest integer aimed at.
const LARGEST: f64 = 32_000.0;
/// Rounding of a correlation in single precision.
const SINGLE: f64 = 3e-7;
/// Permutations between two looks at the flag.
const STEP: u64 = 16;

/// What the tests of all pairs found; arrays are `[a, b]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Observed correlations.
    pub r: Vec<f64>,
    /// p of each pair by itself.
    pub p: Vec<f64>,
    /// p against the largest correlation over all pairs.
    pub p_family: Vec<f64>,
    /// Largest correlation (or size) over the permutations, the identity left out when exact.
    pub null_max: Vec<f64>,
    /// Permutations at least as large as the observed one.
    pub exceeding: Vec<u64>,
    /// Permutations used; n! when exact.
    pub permutations: u64,
    /// Whether all were used.
    pub exact: bool,
}

/// Test every matrix of `xs` `[a, n, n]` with every one of `ys` `[b, n, n]`.
pub fn rsa_grid(
    xs: &[f64],
    ys: &[f64],
    n: usize,
    options: &Options,
    control: &Control,
) -> Result<Grid> {
    match options.correlation {
        Correlation::Pearson => test::<f64>(xs, ys, n, options, control),
        Correlation::Spearman => test::<i64>(xs, ys, n, options, control),
    }
}

fn test<C: Cell>(
    xs: &[f64],
    ys: &[f64],
    n: usize,
    options: &Options,
    control: &Control,
) -> Result<Grid> {
    let (a, b) = (prepare::<C>(xs, n, "xs", control)?, prepare::<C>(ys, n, "ys", control)?);
    let source = options.source(n)?;
    let task = Task::new(&a, &b, options.two_sided, source, control);
    // One range for each thread: every range begins by looking for its own largest sums.
    let pieces = sampled::pieces(source.count(n), control.threads);
    let parts: Result<Vec<Found>> =
        pieces.into_par_iter().map(|(begin, end)| task.range(begin, end)).collect();
    let mut found = task.nothing();
    for part in parts? {
        found.merge(&part);
    }
    Ok(task.grid(found))
}

fn prepare<C: Cell>(
    matrices: &[f64],
    n: usize,
    name: &str,
    control: &Control,
) -> Result<Vec<Prepared<C>>> {
    if n == 0 || matrices.is_empty() {
        return Err(Error::usage(format!("{name} holds no dissimilarities")));
    }
    let matrices: Vec<&[f64]> = matrices.chunks(n * n).collect();
    let prepared = matrices.into_par_iter().enumerate().map(|(at, matrix)| {
        check_cancel(control.cancel)?;
        Prepared::new(matrix, n, &format!("{name}[{at}]"))
    });
    prepared.collect()
}

/// Integers of a list of matrices.
fn round<C: Cell>(matrices: &[Prepared<C>]) -> Vec<Rounded> {
    let one = |matrix: &Prepared<C>| {
        let largest = matrix.triangle().map(|cell| cell.real().abs()).fold(0.0, f64::max);
        let norm = matrix.norm().max(largest * LONGEST / LARGEST);
        Rounded::new(matrix.triangle(), norm, LONGEST)
    };
    matrices.iter().map(one).collect()
}

/// Everything that the permutations have in common.
struct Task<'a, C> {
    n: usize,
    n_b: usize,
    pairs: Vec<Pair<'a, C>>,
    screens: Vec<Screen>,
    factors: Factors,
    columns: Columns,
    limits: Limits,
    /// Observed correlations (or sizes) less the allowance for ties, in order.
    thresholds: Vec<f64>,
    /// How far a screened correlation may be off.
    error: f64,
    two_sided: bool,
    source: Source,
    control: &'a Control<'a>,
}

/// Counts of one range of permutations; arrays are `[a, b]`.
struct Found {
    exceeding: Vec<u64>,
    largest: Vec<f64>,
    /// Permutations by how many thresholds their largest correlation reaches.
    reached: Vec<u64>,
}

impl Found {
    fn merge(&mut self, other: &Self) {
        let add = |total: &mut Vec<u64>, part: &[u64]| {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        };
        add(&mut self.exceeding, &other.exceeding);
        add(&mut self.reached, &other.reached);
        for (largest, value) in self.largest.iter_mut().zip(&other.largest) {
            *largest = largest.max(*value);
        }
    }
}

impl<'a, C: Cell> Task<'a, C> {
    fn new(
        a: &'a [Prepared<C>],
        b: &'a [Prepared<C>],
        two_sided: bool,
        source: Source,
        control: &'a Control<'a>,
    ) -> Self {
        let n = a[0].n();
        let (rounded_a, rounded_b) = (round(a), round(b));
        let integers = |list: &[Prepared<C>], rounded: &[Rounded]| -> Vec<Vec<i16>> {
            let both = list.iter().zip(rounded);
            both.map(|(matrix, by)| matrix.triangle().map(|x| by.round(x)).collect()).collect()
        };
        let cells = (0..a.len()).flat_map(|i| (0..b.len()).map(move |j| (i, j)));
        let pairs: Vec<Pair<C>> =
            cells.clone().map(|(i, j)| Pair::new(&a[i], &b[j], two_sided)).collect();
        let screens: Vec<Screen> = cells
            .zip(&pairs)
            .map(|((i, j), pair)| Screen::new(pair, &rounded_a[i], &rounded_b[j]))
            .collect();
        let mut limits = Limits::new(a.len(), b.len(), two_sided);
        for (at, screen) in screens.iter().enumerate() {
            let unit = screen.correlation().0 as f32;
            limits.set(at / b.len(), at % b.len(), screen.open, screen.sure, unit);
        }
        let error = screens.iter().map(|screen| screen.correlation().1).fold(SINGLE, f64::max);
        let mut thresholds: Vec<f64> = pairs.iter().map(|pair| threshold(pair)).collect();
        thresholds.sort_by(f64::total_cmp);
        Self {
            n,
            n_b: b.len(),
            factors: Factors::new(&integers(a, &rounded_a)),
            columns: Columns::new(n, &integers(b, &rounded_b)),
            pairs,
            screens,
            limits,
            thresholds,
            error: error + SINGLE,
            two_sided,
            source,
            control,
        }
    }

    fn nothing(&self) -> Found {
        let n = self.pairs.len();
        Found {
            exceeding: vec![0; n],
            largest: vec![f64::NEG_INFINITY; n],
            reached: vec![0; n + 1],
        }
    }

    fn range(&self, begin: u64, end: u64) -> Result<Found> {
        let (mut found, mut limits) = (self.nothing(), self.limits.clone());
        let mut sums = Sums::new(&self.factors, &self.columns);
        let mut orders = self.source.orders(self.control.tier, self.n);
        for index in begin..end {
            if index % STEP == 0 {
                check_cancel(self.control.cancel)?;
            }
            let order = orders.get(index);
            sums.multiply(self.control.tier, &self.factors, &self.columns, order);
            let most = limits.compare(self.control.tier, &sums, |limits, tile, lane| {
                self.open(order, limits, tile, lane, &mut found);
            });
            self.family(f64::from(most), order, &sums, &mut found);
        }
        limits.counts(|row, column, count| found.exceeding[row * self.n_b + column] += count);
        Ok(found)
    }

    /// Judge one pair that the integers leave open.
    fn open(&self, order: &[u16], limits: &mut Limits, tile: Tile, lane: usize, found: &mut Found) {
        let at = tile.row * self.n_b + tile.panel * LANES + lane;
        let (pair, screen) = (&self.pairs[at], &self.screens[at]);
        let verdict = pair.judge(order);
        let open = tile.sum >= screen.open && tile.sum <= screen.sure;
        found.exceeding[at] += u64::from(open && verdict.exceeds);
        found.largest[at] = found.largest[at].max(verdict.r);
        limits.cut(tile, lane, screen.cut(found.largest[at]));
    }

    /// Count how many thresholds the largest correlation of a permutation reaches.
    fn family(&self, most: f64, order: &[u16], sums: &Sums, found: &mut Found) {
        let reached = |r: f64| self.thresholds.partition_point(|threshold| *threshold <= r);
        let (least, greatest) = (reached(most - self.error), reached(most + self.error));
        let settled = if least == greatest {
            least
        } else {
            let near = most - 2.0 * self.error;
            let mut exact = f64::NEG_INFINITY;
            for (at, pair) in self.pairs.iter().enumerate() {
                let sum = f64::from(sums.at(at / self.n_b, at % self.n_b));
                let r = sum * self.screens[at].correlation().0;
                if (if self.two_sided { r.abs() } else { r }) >= near {
                    exact = exact.max(pair.judge(order).r);
                }
            }
            reached(exact)
        };
        found.reached[settled] += 1;
    }

    fn grid(&self, mut found: Found) -> Grid {
        let exact = self.source == Source::All;
        let mut permutations = self.source.count(self.n);
        if exact {
            permutations = factorial(self.n);
            found.exceeding.iter_mut().for_each(|count| *count += 1);
            found.reached[self.thresholds.len()] += 1;
        }
        // Permutations whose largest correlation reaches threshold `at` reach more than `at` of them.
        let mut beyond = vec![0; found.reached.len()];
        for at in (0..self.thresholds.len()).rev() {
            beyond[at] = beyond[at + 1] + found.reached[at + 1];
        }
        let family = |pair: &Pair<C>| {
            let own = threshold(pair);
            beyond[self.thresholds.partition_point(|threshold| *threshold < own)]
        };
        let p = |count: u64| share(count, permutations, exact);
        Grid {
            r: self.pairs.iter().map(Pair::r).collect(),
            p: found.exceeding.iter().map(|count| p(*count)).collect(),
            p_family: self.pairs.iter().map(|pair| p(family(pair))).collect(),
            null_max: found.largest,
            exceeding: found.exceeding,
            permutations,
            exact,
        }
    }
}

/// What the largest correlation must reach to count against a pair.
fn threshold<C: Cell>(pair: &Pair<C>) -> f64 {
    (if pair.two_sided { pair.r().abs() } else { pair.r() }) - TIE
}
