//! Per-column sums of a few rows: s += x - p, q += (x - p)^2, number above and below zero.
//!
//! One call takes a group of at most eight rows: the group is summed in registers, starting from
//! zero, and then added to the block's sums. So each sum is loaded and stored once for eight rows,
//! and rounding errors grow with eight plus eight terms and not with sixty-four.

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Tier, dispatch};
use crate::dtype::Float;

/// Rows of a group, the most of one call.
pub const ROWS: usize = 8;
/// Most rows between two flushes; single-precision sums stay accurate to a few units over so many.
pub const BLOCK: usize = 64;
const LANES: usize = 16;

/// Sums of the rows of one label in one tile, per column.
///
/// `sum` and `square` reach over one block, the counts over the tile.
#[derive(Clone, Debug)]
pub struct Sums {
    pub(super) sum: Vec<f32>,
    pub(super) square: Vec<f32>,
    pub(super) positive: Vec<u16>,
    pub(super) negative: Vec<u16>,
    /// Rows since the last flush.
    pub(super) filled: usize,
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
            filled: 0,
        }
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.sum.len()
    }

    /// Add a group of up to [`ROWS`] rows; `pilot` has one value per column.
    ///
    /// `ahead` are the rows of the next group, of which nothing but the address is used.
    pub fn add(
        &mut self,
        tier: Tier,
        dtype: Float,
        rows: &[&[u8]],
        ahead: &[&[u8]],
        pilot: &[f32],
    ) {
        let done = self.add_vectors(tier, dtype, rows, ahead, pilot);
        add(self, dtype, rows, pilot, done);
        self.filled += rows.len();
    }

    /// Rows since the last flush.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled
    }

    #[cfg(target_arch = "x86_64")]
    fn add_vectors(
        &mut self,
        tier: Tier,
        dtype: Float,
        rows: &[&[u8]],
        ahead: &[&[u8]],
        pilot: &[f32],
    ) -> usize {
        let mut group = x86::Group::new(rows, ahead, dtype.size(), pilot, self);
        match tier {
            // SAFETY: a tier exists only where `available` found its instructions.
            Tier::Avx512 => unsafe { x86::add_avx512(dtype, &mut group) },
            // SAFETY: as above.
            Tier::Avx2 => unsafe { x86::add_avx2(dtype, &mut group) },
            Tier::Scalar | Tier::Neon => 0,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn add_vectors(&mut self, _: Tier, _: Float, _: &[&[u8]], _: &[&[u8]], _: &[f32]) -> usize {
        0
    }

    /// End a block: add its sums to double-precision totals, or put them there if `first`.
    pub fn flush(&mut self, tier: Tier, sum: &mut [f64], square: &mut [f64], first: bool) {
        self.filled = 0;
        let (sums, squares) = (&self.sum[..], &self.square[..]);
        dispatch!(tier, widen(part: &[f32] = sums, total: &mut [f64] = sum, first: bool = first));
        dispatch!(tier, widen(part: &[f32] = squares, total: &mut [f64] = square, first: bool = first));
    }

    /// End a tile: move the counts out, leaving zeros.
    pub fn take_counts(&mut self, positive: &mut [u16], negative: &mut [u16]) {
        positive.copy_from_slice(&self.positive);
        negative.copy_from_slice(&self.negative);
        self.positive.fill(0);
        self.negative.fill(0);
    }
}

#[inline(always)]
fn widen(part: &[f32], total: &mut [f64], first: bool) {
    if first {
        for (total, part) in total.iter_mut().zip(part) {
            *total = f64::from(*part);
        }
    } else {
        for (total, part) in total.iter_mut().zip(part) {
            *total += f64::from(*part);
        }
    }
}

/// Add the columns from `at` on.
fn add(sums: &mut Sums, dtype: Float, rows: &[&[u8]], pilot: &[f32], mut at: usize) {
    let size = dtype.size();
    let width = pilot.len();
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
        if sums.filled == 0 {
            sums.sum[columns.clone()].copy_from_slice(&s[..lanes]);
            sums.square[columns.clone()].copy_from_slice(&q[..lanes]);
        } else {
            for (total, group) in sums.sum[columns.clone()].iter_mut().zip(s) {
                *total += group;
            }
            for (total, group) in sums.square[columns.clone()].iter_mut().zip(q) {
                *total += group;
            }
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
