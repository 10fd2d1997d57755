//! Moments of many values at once, and the partial results of tiles that merge into them.
//!
//! Count, mean and `M2 = sum (x - mean)^2` merge by Chan's rule: with n = a + b rows,
//! `mean += delta b / n` and `M2 += M2' + delta^2 a b / n`. Cost: a few operations per value.

use crate::error::{Error, Result};

/// Most values of one result array.
pub const MAX_CELLS: usize = 1 << 26;

/// Moments of every label and column; arrays are `(n_labels, width)`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Rows of each label.
    pub count: Vec<u64>,
    /// Mean, 0 where there are no rows.
    pub mean: Vec<f64>,
    /// Sum of squared deviations from the mean.
    pub m2: Vec<f64>,
    /// Rows with a value above zero.
    pub positive: Vec<u64>,
    /// Rows with a value below zero.
    pub negative: Vec<u64>,
}

impl Moments {
    /// No rows yet.
    #[must_use]
    pub fn new(n_labels: usize, width: usize) -> Self {
        let cells = n_labels * width;
        Self {
            count: vec![0; n_labels],
            mean: vec![0.0; cells],
            m2: vec![0.0; cells],
            positive: vec![0; cells],
            negative: vec![0; cells],
        }
    }

    /// Merge a tile by Chan's rule.
    pub(super) fn merge(&mut self, part: &Part) {
        let width = part.width;
        for (label, count) in part.count.iter().copied().enumerate().filter(|(_, count)| *count > 0)
        {
            let (before, after) = (self.count[label] as f64, (self.count[label] + count) as f64);
            let share = count as f64 / after;
            let weight = before * share;
            self.count[label] += count;
            let cells = label * width..(label + 1) * width;
            let ours = self.mean[cells.clone()].iter_mut().zip(&mut self.m2[cells.clone()]);
            let theirs = part.first[cells.clone()].iter().zip(&part.second[cells.clone()]);
            for ((mean, m2), (part_mean, part_m2)) in ours.zip(theirs) {
                let delta = part_mean - *mean;
                *mean += delta * share;
                *m2 += part_m2 + delta * delta * weight;
            }
            let ours =
                self.positive[cells.clone()].iter_mut().zip(&mut self.negative[cells.clone()]);
            let theirs = part.positive[cells.clone()].iter().zip(&part.negative[cells]);
            for ((positive, negative), (part_positive, part_negative)) in ours.zip(theirs) {
                *positive += u64::from(*part_positive);
                *negative += u64::from(*part_negative);
            }
        }
    }
}

/// Partial result of one tile; cells of labels without rows hold old values.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) width: usize,
    pub(super) count: Vec<u64>,
    /// Sums, then means, relative to the pilot.
    pub(super) first: Vec<f64>,
    /// Sums of squares, then M2.
    pub(super) second: Vec<f64>,
    /// Counts; a tile has less than 2^16 rows.
    pub(super) positive: Vec<u16>,
    pub(super) negative: Vec<u16>,
}

impl Part {
    pub(super) fn new(n_labels: usize, width: usize) -> Self {
        let cells = n_labels * width;
        Self {
            width,
            count: vec![0; n_labels],
            first: vec![0.0; cells],
            second: vec![0.0; cells],
            positive: vec![0; cells],
            negative: vec![0; cells],
        }
    }

    /// Forget the last tile.
    pub(super) fn clear(&mut self) {
        self.count.fill(0);
        self.first.fill(0.0);
        self.second.fill(0.0);
        self.positive.fill(0);
        self.negative.fill(0);
    }

    /// Add one row of values times `scale` to a label, relative to its pilot.
    pub(super) fn add(&mut self, label: usize, values: &[f64], scale: f64, pilot: &[f64]) {
        self.count[label] += 1;
        let cells = label * self.width..(label + 1) * self.width;
        let first = self.first[cells.clone()].iter_mut().zip(&mut self.second[cells.clone()]);
        for ((first, second), (value, pilot)) in first.zip(values.iter().zip(pilot)) {
            let deviation = value * scale - pilot;
            *first += deviation;
            *second += deviation * deviation;
        }
        let signs = self.positive[cells.clone()].iter_mut().zip(&mut self.negative[cells]);
        for ((positive, negative), value) in signs.zip(values) {
            let value = value * scale;
            *positive += u16::from(value > 0.0);
            *negative += u16::from(value < 0.0);
        }
    }

    /// Turn sums into means and M2; false when any of them is not finite.
    pub(super) fn finish(&mut self) -> bool {
        let mut finite = true;
        for (label, count) in self.count.iter().enumerate().filter(|(_, count)| **count > 0) {
            let inverse = 1.0 / *count as f64;
            let cells = label * self.width..(label + 1) * self.width;
            for (first, second) in self.first[cells.clone()].iter_mut().zip(&mut self.second[cells])
            {
                let mean = *first * inverse;
                let m2 = (*second - *first * mean).max(0.0);
                finite &= (mean + *second).is_finite();
                (*first, *second) = (mean, m2);
            }
        }
        finite
    }
}

/// Fail when `n_labels * width` is more than a result may hold.
pub(super) fn check_cells(n_labels: usize, width: usize) -> Result<()> {
    match n_labels.checked_mul(width) {
        Some(cells) if cells <= MAX_CELLS && n_labels <= MAX_CELLS => Ok(()),
        _ => Err(Error::usage(format!(
            "{n_labels} labels of {width} values are too many, the limit is {MAX_CELLS} in all"
        ))),
    }
}
