//! Integers that stand for prepared numbers, and how far their sums may be off.
//!
//! q = round(t x) with a factor t for each matrix. For permuted sums over the cells of two matrices
//! with errors e = q - t x: |sum q q' - t t' sum x x'| <= t |x| |e'| + t' |x'| |e| + |e| |e'| by
//! Cauchy and Schwarz, whatever the permutation. Integers that fit are taken as they are: e = 0.

use super::statistic::{Cell, Pair, Prepared};

/// Share of a sum allowed for the rounding of the doubles in which bounds are worked out.
const ROUNDING: f64 = 1e-9;

/// Added to a number below 2^51 in size, and taken off again, rounds it.
const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;

/// The rounded numbers of one matrix.
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    factor: f64,
    /// Length of the scaled numbers.
    length: f64,
    /// Length of the errors.
    error: f64,
}

impl Rounded {
    /// Round so that `norm`, the length of whatever must fit, becomes at most `most`.
    ///
    /// `cells` are the cells of the sums.
    pub fn new<C: Cell>(cells: impl Iterator<Item = C>, norm: f64, most: f64) -> Self {
        let factor = if C::WHOLE { (most / norm).min(1.0) } else { most / norm };
        let mut rounded = Self { factor, length: 0.0, error: 0.0 };
        for cell in cells {
            let exact = cell.real() * factor;
            let error = exact - f64::from(rounded.round(cell));
            rounded.length += exact * exact;
            rounded.error += error * error;
        }
        rounded.length = rounded.length.sqrt();
        rounded.error = rounded.error.sqrt();
        rounded
    }

    /// The integer that stands for a cell.
    pub fn round<C: Cell>(&self, cell: C) -> i16 {
        // To the nearest whole number, ties to even: beyond 2^52 doubles have no fraction. The call
        // that processors without SSE 4.1 need for the same takes as long as everything else.
        ((cell.real() * self.factor + WHOLE) - WHOLE) as i16
    }
}

/// Limits for the integer sums of one pair.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Integer sum of correlation 1.
    unit: f64,
    error: f64,
    /// Sums from here on may exceed what was observed ...
    pub open: i64,
    /// ... and sums above this certainly do, and do not tie.
    pub sure: i64,
}

impl Screen {
    /// Work out the limits.
    pub fn new<C: Cell>(pair: &Pair<C>, a: &Rounded, b: &Rounded) -> Self {
        let scale = a.factor * b.factor;
        let unit = scale * pair.scale();
        let error = a.length * b.error + a.error * b.length + a.error * b.error + ROUNDING * unit;
        let (limit, slack) = (pair.limit().real() * scale, C::SLACK.real() * scale);
        let open = (limit - slack - error).ceil() as i64;
        let sure = (limit + slack + error).floor() as i64;
        Self { unit, error, open, sure }
    }

    /// Sums up to this have no correlation above r.
    #[must_use]
    pub fn cut(&self, r: f64) -> i64 {
        (r * self.unit - self.error).floor() as i64
    }

    /// Correlation that a sum of integers stands for, and how far it may be off.
    #[must_use]
    pub fn correlation(&self) -> (f64, f64) {
        (self.unit.recip(), self.error / self.unit)
    }
}

/// Longest row of a symmetric matrix.
pub(super) fn longest_row<C: Cell>(matrix: &Prepared<C>) -> f64 {
    let rows = (0..matrix.n()).map(|at| matrix.row(at).iter());
    let squares = rows.map(|row| row.map(|cell| cell.real() * cell.real()).sum::<f64>());
    squares.fold(0.0, f64::max).sqrt()
}
