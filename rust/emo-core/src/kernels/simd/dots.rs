//! Dot products in double precision with a fixed order: eight lanes, then pairwise.
//!
//! Lane l adds the products of columns l, l + 8, l + 16 ... with one rounding each; the lanes are
//! then added as ((0+4)+(2+6))+((1+5)+(3+7)). A last short group of columns counts as padded by
//! zeros. The order does not depend on how rows or vectors are grouped.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::Instructions;
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Tier, dispatch};
use crate::dtype::Float;

const LANES: usize = 8;
/// Rows and vectors whose sums are kept in registers together.
const ROWS: usize = 4;
const VECTORS: usize = 2;
/// Columns taken at a time, a multiple of the lanes.
const BLOCK: usize = 128;

/// Vectors cut into groups of columns and laid out so that a block of all of them is contiguous.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Columns of the blocks in order; within a block one vector after the other.
    values: Vec<f64>,
    k: usize,
    width: usize,
    group: usize,
}

impl Packed {
    /// Lay out `(k, width)` vectors; `group` divides the width.
    #[must_use]
    pub fn new(vectors: &[f64], width: usize, group: usize) -> Self {
        let mut packed = Self {
            values: Vec::with_capacity(vectors.len()),
            k: vectors.len().checked_div(width).unwrap_or(0),
            width,
            group,
        };
        for block in blocks(0..width, group) {
            for vector in vectors.chunks_exact(width) {
                packed.values.extend_from_slice(&vector[block.clone()]);
            }
        }
        packed
    }

    /// Dot products per row.
    #[must_use]
    pub fn per_row(&self) -> usize {
        self.values.len() / self.group
    }

    /// Products that go into the dot products of a row.
    #[must_use]
    pub fn products_per_row(&self) -> usize {
        self.values.len()
    }

    /// Dot products of `rows` `(n, width)` with every group: `out` is `(n, k, width / group)`.
    pub fn dots(&self, tier: Tier, rows: &[f64], out: &mut [f64]) {
        let (n, n_groups) = (rows.len() / self.width, self.width / self.group);
        let mut sums = vec![[0.0; LANES]; n * self.k];
        for at in 0..n_groups {
            sums.fill([0.0; LANES]);
            for block in blocks(at * self.group..(at + 1) * self.group, self.group) {
                self.add(tier, rows, &block, &mut sums);
            }
            for (index, sum) in sums.iter().enumerate() {
                out[index * n_groups + at] = reduce(sum);
            }
        }
    }

    /// Add the products of one block of columns to the lane sums `(n, k)`.
    fn add(&self, tier: Tier, rows: &[f64], block: &Range<usize>, sums: &mut [[f64; LANES]]) {
        let (k, n) = (self.k, rows.len() / self.width);
        let x = |row: usize| &rows[row * self.width..][block.clone()];
        let w =
            |vector: usize| &self.values[block.start * k + vector * block.len()..][..block.len()];
        for row in (0..n / ROWS * ROWS).step_by(ROWS) {
            let x = [x(row), x(row + 1), x(row + 2), x(row + 3)];
            for vector in (0..k / VECTORS * VECTORS).step_by(VECTORS) {
                add_products(tier, x, [w(vector), w(vector + 1)], &mut sums[row * k + vector..], k);
            }
            for vector in k / VECTORS * VECTORS..k {
                add_products(tier, x, [w(vector)], &mut sums[row * k + vector..], k);
            }
        }
        for row in n / ROWS * ROWS..n {
            for vector in 0..k {
                add_products(tier, [x(row)], [w(vector)], &mut sums[row * k + vector..], k);
            }
        }
    }
}

/// Columns of `range` in pieces that end with their group and are at most [`BLOCK`] wide.
fn blocks(range: Range<usize>, group: usize) -> impl Iterator<Item = Range<usize>> {
    let groups = range.step_by(group.max(1)).map(move |begin| begin..begin + group);
    groups.flat_map(|group| {
        let end = group.end;
        group.step_by(BLOCK).map(move |begin| begin..(begin + BLOCK).min(end))
    })
}

/// Add the products of R pieces of rows with K pieces of vectors, all equally long, to lane sums;
/// those of a row are `stride` further on than those of the row before.
fn add_products<const R: usize, const K: usize>(
    tier: Tier,
    x: [&[f64]; R],
    w: [&[f64]; K],
    sums: &mut [[f64; LANES]],
    stride: usize,
) {
    let chunks = w[0].len() / LANES;
    let heads = x.map(|x| &x.as_chunks::<LANES>().0[..chunks]);
    let weights = w.map(|w| &w.as_chunks::<LANES>().0[..chunks]);
    match tier.0 {
        // SAFETY: a tier exists only where its instructions were found.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => unsafe { x86::avx512::add_products(heads, weights, sums, stride) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::avx2::add_products(heads, weights, sums, stride) },
        _ => each_pair::<R, K>(|row, vector| {
            for (x, w) in heads[row].iter().zip(weights[vector]) {
                fma(&mut sums[row * stride + vector], x, w);
            }
        }),
    }
    let begin = chunks * LANES;
    if begin < w[0].len() {
        each_pair::<R, K>(|row, vector| {
            let (x, w) = (padded(&x[row][begin..]), padded(&w[vector][begin..]));
            fma(&mut sums[row * stride + vector], &x, &w);
        });
    }
}

fn each_pair<const R: usize, const K: usize>(mut take: impl FnMut(usize, usize)) {
    for row in 0..R {
        for vector in 0..K {
            take(row, vector);
        }
    }
}

#[inline(always)]
fn padded(values: &[f64]) -> [f64; LANES] {
    let mut out = [0.0; LANES];
    out[..values.len()].copy_from_slice(values);
    out
}

#[inline(always)]
fn fma(sums: &mut [f64; LANES], x: &[f64; LANES], w: &[f64; LANES]) {
    for lane in 0..LANES {
        sums[lane] = x[lane].mul_add(w[lane], sums[lane]);
    }
}

#[inline(always)]
fn reduce(s: &[f64; LANES]) -> f64 {
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

/// Dot product of two vectors of equal length, in the order of this module.
#[must_use]
pub fn dot(tier: Tier, x: &[f64], w: &[f64]) -> f64 {
    let length = x.len().min(w.len());
    let mut sums = [[0.0; LANES]];
    add_products(tier, [&x[..length]], [&w[..length]], &mut sums, 1);
    reduce(&sums[0])
}

/// Dot products of all pairs of `rows` `(n, width)`, in the order of this module: `(n, n)`.
#[must_use]
pub fn gram(tier: Tier, rows: &[f64], width: usize) -> Vec<f64> {
    let n = rows.len().checked_div(width).unwrap_or(0);
    let row = |at: usize| &rows[at * width..(at + 1) * width];
    let mut sums = vec![[0.0; LANES]; n * n];
    for first in (0..n / ROWS * ROWS).step_by(ROWS) {
        let x = [row(first), row(first + 1), row(first + 2), row(first + 3)];
        // Blocks that reach the diagonal or lie above it; the others are mirrored.
        for vector in (first..n).step_by(VECTORS) {
            let sums = &mut sums[first * n + vector..];
            if vector + VECTORS <= n {
                add_products(tier, x, [row(vector), row(vector + 1)], sums, n);
            } else {
                add_products(tier, x, [row(vector)], sums, n);
            }
        }
    }
    for first in n / ROWS * ROWS..n {
        for vector in first..n {
            add_products(tier, [row(first)], [row(vector)], &mut sums[first * n + vector..], n);
        }
    }
    let entry = |at: usize| reduce(&sums[(at / n).min(at % n) * n + (at / n).max(at % n)]);
    (0..n * n).map(entry).collect()
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
