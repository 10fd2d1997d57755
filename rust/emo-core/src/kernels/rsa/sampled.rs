//! Random permutations of one pair of matrices.

use rayon::prelude::*;

use super::permutations::Source;
use super::screen::{Rounded, Screen, longest_row};
use super::statistic::{Cell, Pair};
use super::{Outcome, Tally};
use crate::error::Result;
use crate::kernels::simd::permuted::Product;
use crate::scan::{Control, check_cancel};

/// Length of the longest row of integers: with the rounding its square stays below 2^30.
const LONGEST: f64 = 32_000.0;
/// Permutations between two looks at the flag.
const STEP: u64 = 64;
/// Pieces of work for each thread.
const PIECES: usize = 4;

/// Compare the permutations of `source` with the observed one.
pub(super) fn sample<C: Cell>(
    pair: &Pair<C>,
    source: Source,
    control: &Control,
) -> Result<Outcome> {
    let n = pair.a.n();
    let rounded = [pair.a, pair.b]
        .map(|matrix| Rounded::new(matrix.triangle(), longest_row(matrix), LONGEST));
    let screen = Screen::new(pair, &rounded[0], &rounded[1]);
    let a = |row: usize, column: usize| rounded[0].round(pair.a.row(row)[column]);
    let b = |row: usize, column: usize| rounded[1].round(pair.b.row(row)[column]);
    let product = Product::new(control.tier, n, a, b);
    let count = source.count(n);
    let run = |begin: u64, end: u64| {
        let mut work = Work { pair, screen, source, product: &product, control, sum: 0 };
        work.range(begin, end).map(|tally| (tally, work.sum))
    };
    let parts: Result<Vec<(Tally, i128)>> = pieces(count, PIECES * control.threads)
        .into_par_iter()
        .map(|(begin, end)| run(begin, end))
        .collect();
    let (mut tally, mut sum) = (Tally::default(), 0);
    for (part, part_sum) in parts? {
        tally.exceeding += part.exceeding;
        tally.ties += part.ties;
        tally.largest = tally.largest.max(part.largest);
        sum += part_sum;
    }
    let mean = sum as f64 * screen.correlation().0 / count as f64;
    Ok(Outcome::new(pair.r(), tally, mean, count, false))
}

/// At most `most` ranges of about equal size; how many there are changes nothing but the speed.
pub(super) fn pieces(count: u64, most: usize) -> Vec<(u64, u64)> {
    let pieces = (most as u64).min(count.div_ceil(STEP)).max(1);
    let at = |piece: u64| (u128::from(count) * u128::from(piece) / u128::from(pieces)) as u64;
    (0..pieces).map(|piece| (at(piece), at(piece + 1))).collect()
}

struct Work<'a, C> {
    pair: &'a Pair<'a, C>,
    screen: Screen,
    source: Source,
    product: &'a Product,
    control: &'a Control<'a>,
    sum: i128,
}

impl<C: Cell> Work<'_, C> {
    fn range(&mut self, begin: u64, end: u64) -> Result<Tally> {
        let n = self.pair.a.n();
        let (mut tally, mut cut) = (Tally::default(), i64::MIN);
        let mut places = self.product.places();
        let mut orders = self.source.orders(self.control.tier, n);
        for index in begin..end {
            if index % STEP == 0 {
                check_cancel(self.control.cancel)?;
            }
            let order = orders.get(index);
            places.set(order);
            let sum = self.product.sum(&places);
            self.sum += i128::from(sum);
            let sized = if self.pair.two_sided { sum.abs() } else { sum };
            let open = sized >= self.screen.open && sized <= self.screen.sure;
            tally.exceeding += u64::from(sized > self.screen.sure);
            if open || sized > cut {
                let verdict = self.pair.judge(order);
                tally.exceeding += u64::from(open && verdict.exceeds);
                tally.ties += u64::from(open && verdict.tie);
                tally.largest = tally.largest.max(verdict.r);
                cut = self.screen.cut(tally.largest);
            }
        }
        Ok(tally)
    }
}
