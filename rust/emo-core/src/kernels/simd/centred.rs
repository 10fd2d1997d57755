//! Rows less a pilot in single precision, and the sums of a block's columns.
//!
//! Every value is rounded on its own and columns are added in the order of the rows, so all tiers
//! give the same bits.

use super::{Tier, dispatch};
use crate::dtype::Float;

/// Columns summed at a time.
const STRIP: usize = 64;

/// A stored row less the pilot.
pub fn less_stored(tier: Tier, dtype: Float, bytes: &[u8], pilot: &[f32], out: &mut [f32]) {
    dispatch!(tier, stored(
        dtype: Float = dtype, bytes: &[u8] = bytes, pilot: &[f32] = pilot, out: &mut [f32] = out
    ));
}

#[inline(always)]
fn stored(dtype: Float, bytes: &[u8], pilot: &[f32], out: &mut [f32]) {
    dtype.decode(bytes, out);
    for (value, pilot) in out.iter_mut().zip(pilot) {
        *value -= pilot;
    }
}

/// A row of singles less the pilot.
pub fn less_single(tier: Tier, row: &[f32], pilot: &[f32], out: &mut [f32]) {
    dispatch!(tier, single(row: &[f32] = row, pilot: &[f32] = pilot, out: &mut [f32] = out));
}

#[inline(always)]
fn single(row: &[f32], pilot: &[f32], out: &mut [f32]) {
    for ((out, value), pilot) in out.iter_mut().zip(row).zip(pilot) {
        *out = value - pilot;
    }
}

/// A row of doubles less the pilot.
pub fn less_double(tier: Tier, row: &[f64], pilot: &[f64], out: &mut [f32]) {
    dispatch!(tier, double(row: &[f64] = row, pilot: &[f64] = pilot, out: &mut [f32] = out));
}

#[inline(always)]
fn double(row: &[f64], pilot: &[f64], out: &mut [f32]) {
    for ((out, value), pilot) in out.iter_mut().zip(row).zip(pilot) {
        *out = (value - pilot) as f32;
    }
}

/// Add the columns of at most 64 rows, `stride` apart, and their squares to `sum` and `square`.
pub fn add_columns(tier: Tier, x: &[f32], stride: usize, sum: &mut [f64], square: &mut [f64]) {
    dispatch!(tier, columns(
        x: &[f32] = x, stride: usize = stride, sum: &mut [f64] = sum, square: &mut [f64] = square
    ));
}

#[inline(always)]
fn columns(x: &[f32], stride: usize, sum: &mut [f64], square: &mut [f64]) {
    for begin in (0..sum.len()).step_by(STRIP) {
        let (mut sums, mut squares) = ([0.0f32; STRIP], [0.0f32; STRIP]);
        for row in x.chunks_exact(stride) {
            if let Some(strip) = row[begin..].first_chunk::<STRIP>() {
                for at in 0..STRIP {
                    sums[at] += strip[at];
                    squares[at] = strip[at].mul_add(strip[at], squares[at]);
                }
            } else {
                for (at, value) in row[begin..].iter().enumerate() {
                    sums[at] += value;
                    squares[at] = value.mul_add(*value, squares[at]);
                }
            }
        }
        for (at, (sum, square)) in
            sum.iter_mut().zip(&mut *square).skip(begin).take(STRIP).enumerate()
        {
            *sum += f64::from(sums[at]);
            *square += f64::from(squares[at]);
        }
    }
}
