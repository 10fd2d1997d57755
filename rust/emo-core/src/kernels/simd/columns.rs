//! Per-column sums of a few rows: s += x - p, q += (x - p)^2, number above and below zero.
//!
//! One call takes a group of at most eight rows: the group is summed in registers, starting from
//! zero, and then added to the block's sums. So each sum is loaded and stored once for eight rows,
//! and rounding errors grow with eight plus eight terms and not with sixty-four.

use super::{Tier, dispatch};
use crate::dtype::Float;

/// Rows of a group, the most of one call.
pub const ROWS: usize = 8;
/// Most rows between two flushes; single-precision sums stay accurate to a few units over so many.
pub const BLOCK: usize = 64;
const LANES: usize = 16;

/// Single-precision sums of one block of rows, per column.
#[derive(Clone, Debug)]
pub struct Sums {
    sum: Vec<f32>,
    square: Vec<f32>,
    positive: Vec<u16>,
    negative: Vec<u16>,
}

/// Double-precision totals of one tile, per column.
#[derive(Debug)]
pub struct Totals<'a> {
    /// Sum of x - p.
    pub sum: &'a mut [f64],
    /// Sum of (x - p)^2.
    pub square: &'a mut [f64],
    /// Number of x > 0.
    pub positive: &'a mut [u32],
    /// Number of x < 0.
    pub negative: &'a mut [u32],
}

impl Sums {
    /// All zero.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self {
            sum: vec![0.0; width],
            square: vec![0.0; width],
            positive: vec![0; width],
            negative: vec![0; width],
        }
    }

    /// Add up to [`ROWS`] rows of `dtype`; `pilot` has one value per column.
    pub fn add(&mut self, tier: Tier, dtype: Float, rows: &[&[u8]], pilot: &[f32]) {
        let sums = self;
        dispatch!(tier, add(sums: &mut Sums, dtype: Float, rows: &[&[u8]], pilot: &[f32]));
    }

    /// Move the sums into `totals`, leaving zeros; `first` overwrites what the totals held.
    pub fn flush(&mut self, tier: Tier, totals: Totals, first: bool) {
        let sums = self;
        dispatch!(tier, flush(sums: &mut Sums, totals: Totals, first: bool));
    }
}

#[inline(always)]
fn add(sums: &mut Sums, dtype: Float, rows: &[&[u8]], pilot: &[f32]) {
    let size = dtype.size();
    let width = pilot.len();
    let mut at = 0;
    while at < width {
        let lanes = LANES.min(width - at);
        let columns = at..at + lanes;
        let mut x = [0.0f32; LANES];
        let mut p = [0.0f32; LANES];
        let mut s = [0.0f32; LANES];
        let mut q = [0.0f32; LANES];
        let mut above = [0u16; LANES];
        let mut below = [0u16; LANES];
        p[..lanes].copy_from_slice(&pilot[columns.clone()]);
        for row in rows {
            dtype.decode(&row[at * size..(at + lanes) * size], &mut x);
            for lane in 0..LANES {
                let d = x[lane] - p[lane];
                s[lane] += d;
                q[lane] = d.mul_add(d, q[lane]);
                above[lane] += u16::from(x[lane] > 0.0);
                below[lane] += u16::from(x[lane] < 0.0);
            }
        }
        for (total, group) in sums.sum[columns.clone()].iter_mut().zip(s) {
            *total += group;
        }
        for (total, group) in sums.square[columns.clone()].iter_mut().zip(q) {
            *total += group;
        }
        for (total, count) in sums.positive[columns.clone()].iter_mut().zip(above) {
            *total += count;
        }
        for (total, count) in sums.negative[columns].iter_mut().zip(below) {
            *total += count;
        }
        at += lanes;
    }
}

#[inline(always)]
fn flush(sums: &mut Sums, totals: Totals, first: bool) {
    if first {
        totals.sum.fill(0.0);
        totals.square.fill(0.0);
        totals.positive.fill(0);
        totals.negative.fill(0);
    }
    for (total, part) in totals.sum.iter_mut().zip(&mut sums.sum) {
        *total += f64::from(std::mem::take(part));
    }
    for (total, part) in totals.square.iter_mut().zip(&mut sums.square) {
        *total += f64::from(std::mem::take(part));
    }
    for (total, part) in totals.positive.iter_mut().zip(&mut sums.positive) {
        *total += u32::from(std::mem::take(part));
    }
    for (total, part) in totals.negative.iter_mut().zip(&mut sums.negative) {
        *total += u32::from(std::mem::take(part));
    }
}
