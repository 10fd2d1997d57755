//! Dot products in double precision with a fixed order: eight lanes, then pairwise.
//!
//! Lane l adds the products of columns l, l + 8, l + 16 ... with one rounding each; the lanes are
//! then added as ((0+4)+(2+6))+((1+5)+(3+7)). A last short group of columns counts as padded by
//! zeros. The order does not depend on how rows or vectors are grouped.

use super::{Tier, dispatch};
use crate::dtype::Float;

const LANES: usize = 8;
/// Rows that share one load of a vector.
const ROWS: usize = 4;

/// Dot products of `rows` with `vectors`, cut into groups of `group` columns.
///
/// `rows` : `(n, width)`, `vectors` : `(k, width)`, `out` : `(n, k, width / group)`.
pub fn grouped_dots(
    tier: Tier,
    rows: &[f64],
    vectors: &[f64],
    width: usize,
    group: usize,
    out: &mut [f64],
) {
    dispatch!(tier, dots(rows: &[f64] = rows, vectors: &[f64] = vectors, width: usize = width, group: usize = group, out: &mut [f64] = out));
}

#[inline(always)]
fn dots(rows: &[f64], vectors: &[f64], width: usize, group: usize, out: &mut [f64]) {
    let n_groups = width / group;
    let per_row = vectors.len() / width * n_groups;
    for (block, outs) in rows.chunks(ROWS * width).zip(out.chunks_mut(ROWS * per_row)) {
        for (index, vector) in vectors.chunks_exact(width).enumerate() {
            for (at, part) in vector.chunks_exact(group).enumerate() {
                let slot = index * n_groups + at;
                if block.len() == ROWS * width {
                    let sums = dot_block(block, part, width, at * group);
                    for (row, sum) in sums.into_iter().enumerate() {
                        outs[row * per_row + slot] = sum;
                    }
                } else {
                    for (row, values) in block.chunks_exact(width).enumerate() {
                        outs[row * per_row + slot] = dot(&values[at * group..][..group], part);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn dot_block(block: &[f64], part: &[f64], width: usize, begin: usize) -> [f64; ROWS] {
    let row = |index: usize| block[index * width + begin..][..part.len()].as_chunks::<LANES>();
    let (weights, tail) = part.as_chunks::<LANES>();
    let heads = [row(0).0, row(1).0, row(2).0, row(3).0];
    let tails = [row(0).1, row(1).1, row(2).1, row(3).1];
    let mut sums = [[0.0; LANES]; ROWS];
    for (index, weight) in weights.iter().enumerate() {
        for row in 0..ROWS {
            fma(&mut sums[row], &heads[row][index], weight);
        }
    }
    let mut out = [0.0; ROWS];
    for row in 0..ROWS {
        fma_tail(&mut sums[row], tails[row], tail);
        out[row] = reduce(&sums[row]);
    }
    out
}

#[inline(always)]
fn dot(values: &[f64], part: &[f64]) -> f64 {
    let (heads, tail) = values.as_chunks::<LANES>();
    let (weights, weight_tail) = part.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (head, weight) in heads.iter().zip(weights) {
        fma(&mut sums, head, weight);
    }
    fma_tail(&mut sums, tail, weight_tail);
    reduce(&sums)
}

#[inline(always)]
fn fma(sums: &mut [f64; LANES], x: &[f64; LANES], w: &[f64; LANES]) {
    for lane in 0..LANES {
        sums[lane] = x[lane].mul_add(w[lane], sums[lane]);
    }
}

#[inline(always)]
fn fma_tail(sums: &mut [f64; LANES], x: &[f64], w: &[f64]) {
    for (sum, (x, w)) in sums.iter_mut().zip(x.iter().zip(w)) {
        *sum = x.mul_add(*w, *sum);
    }
}

#[inline(always)]
fn reduce(s: &[f64; LANES]) -> f64 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

/// Add `sum_r factors[r] * rows[r]` to `out`, one rounding per row, in row order.
///
/// `rows` : `(n, width)`, `factors` : `(n,)`, `out` : `(width,)`.
pub fn add_scaled_rows(tier: Tier, rows: &[f64], factors: &[f64], out: &mut [f64]) {
    dispatch!(tier, scaled(rows: &[f64] = rows, factors: &[f64] = factors, out: &mut [f64] = out));
}

#[inline(always)]
fn scaled(rows: &[f64], factors: &[f64], out: &mut [f64]) {
    let width = out.len();
    let blocks = rows.chunks(LANES * width).zip(factors.chunks(LANES));
    for (rows, factors) in blocks {
        let (out, tail) = out.as_chunks_mut::<LANES>();
        for (index, sums) in out.iter_mut().enumerate() {
            for (row, factor) in rows.chunks_exact(width).zip(factors) {
                fma(
                    sums,
                    row[index * LANES..].first_chunk().unwrap_or(&[0.0; LANES]),
                    &[*factor; LANES],
                );
            }
        }
        let begin = width - tail.len();
        for (row, factor) in rows.chunks_exact(width).zip(factors) {
            for (sum, x) in tail.iter_mut().zip(&row[begin..]) {
                *sum = x.mul_add(*factor, *sum);
            }
        }
    }
}

/// Convert stored elements exactly to double precision.
pub fn widen(tier: Tier, dtype: Float, bytes: &[u8], out: &mut [f64]) {
    dispatch!(tier, widen_all(dtype: Float = dtype, bytes: &[u8] = bytes, out: &mut [f64] = out));
}

#[inline(always)]
fn widen_all(dtype: Float, bytes: &[u8], out: &mut [f64]) {
    const STRIP: usize = 64;
    let mut single = [0.0f32; STRIP];
    for (out, bytes) in out.chunks_mut(STRIP).zip(bytes.chunks(STRIP * dtype.size())) {
        dtype.decode(bytes, &mut single);
        for (wide, narrow) in out.iter_mut().zip(single) {
            *wide = f64::from(narrow);
        }
    }
}
