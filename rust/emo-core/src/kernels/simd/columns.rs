//! Per-column sums of a few rows: s += x - p, q += (x - p)^2, number above and below zero.
//!
//! One call takes a group of at most eight rows: the group is summed in registers, starting from
//! zero, and then added to the block's sums. So each sum is loaded and stored once for eight rows,
//! and rounding errors grow with eight plus eight terms and not with sixty-four.

use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use super::Instructions;
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
        if done < pilot.len() {
            let sums = &mut *self;
            dispatch!(tier, add(
                sums: &mut Sums = sums, dtype: Float = dtype, rows: &[&[u8]] = rows,
                pilot: &[f32] = pilot, begin: usize = done,
            ));
        }
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
        match tier.0 {
            // SAFETY: a tier exists only where its instructions were found.
            Instructions::Avx512 => unsafe { x86::add_avx512(dtype, &mut group) },
            // SAFETY: as above.
            Instructions::Avx2 => unsafe { x86::add_avx2(dtype, &mut group) },
            Instructions::Scalar | Instructions::Neon => 0,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[expect(clippy::unused_self, reason = "the twin of the one above")]
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

/// The widest vectors there are, unless narrower ones add up the columns of half a megabyte in less
/// than nine tenths of their time.
pub(super) fn fastest() -> Tier {
    let tiers: Vec<Tier> = Tier::available_tiers().filter(|tier| *tier != Tier::SCALAR).collect();
    match tiers[..] {
        [] => Tier::SCALAR,
        [only] => only,
        [.., narrow, wide] if trial(narrow) < trial(wide).mul_f64(0.9) => narrow,
        [.., wide] => wide,
    }
}

/// Least time of a few rounds over 64 rows of bf16.
fn trial(tier: Tier) -> Duration {
    const WIDTH: usize = 4096;
    let bytes = vec![0x3f; 2 * WIDTH * BLOCK];
    let rows: Vec<&[u8]> = bytes.chunks_exact(2 * WIDTH).collect();
    let (pilot, mut sums) = (vec![0.5; WIDTH], Sums::new(WIDTH));
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for group in rows.chunks(ROWS) {
            sums.add(tier, Float::Bf16, group, &[], &pilot);
        }
        best = best.min(start.elapsed());
        sums.filled = 0;
    }
    best
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

/// Add the columns from `begin` on, sixteen at a time; the last ones are padded by zeros.
///
/// Loops over fixed arrays, which compilers turn into vectors where there are any.
#[inline(always)]
fn add(sums: &mut Sums, dtype: Float, rows: &[&[u8]], pilot: &[f32], begin: usize) {
    match dtype {
        Float::Bf16 => add_typed::<32>(sums, rows, pilot, begin, |bytes| lanes(Float::Bf16, bytes)),
        Float::F16 => add_typed::<32>(sums, rows, pilot, begin, |bytes| lanes(Float::F16, bytes)),
        Float::F32 => add_typed::<64>(sums, rows, pilot, begin, |bytes| lanes(Float::F32, bytes)),
    }
}

#[inline(always)]
fn lanes(dtype: Float, bytes: &[u8]) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    dtype.decode(bytes, &mut out);
    out
}

/// `BYTES` are those of sixteen elements.
#[inline(always)]
fn add_typed<const BYTES: usize>(
    sums: &mut Sums,
    rows: &[&[u8]],
    pilot: &[f32],
    begin: usize,
    lanes: impl Fn(&[u8; BYTES]) -> [f32; LANES],
) {
    let size = BYTES / LANES;
    for at in (begin..pilot.len()).step_by(LANES) {
        let n = LANES.min(pilot.len() - at);
        let mut group = Lanes { pilot: padded(&pilot[at..at + n]), ..Lanes::default() };
        for row in rows {
            match row[at * size..].first_chunk::<BYTES>() {
                Some(bytes) => group.add(&lanes(bytes)),
                None => group.add(&lanes(&padded(&row[at * size..(at + n) * size]))),
            }
        }
        group.store(sums, at, n);
    }
}

fn padded<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    let mut out = [T::default(); N];
    out[..values.len()].copy_from_slice(values);
    out
}

/// Sums of one group of rows over sixteen columns.
#[derive(Default)]
struct Lanes {
    pilot: [f32; LANES],
    sum: [f32; LANES],
    square: [f32; LANES],
    above: [u32; LANES],
    below: [u32; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, x: &[f32; LANES]) {
        for lane in 0..LANES {
            let d = x[lane] - self.pilot[lane];
            self.sum[lane] += d;
            self.square[lane] = d.mul_add(d, self.square[lane]);
            self.above[lane] += u32::from(x[lane] > 0.0);
            self.below[lane] += u32::from(x[lane] < 0.0);
        }
    }

    fn store(&self, sums: &mut Sums, at: usize, n: usize) {
        let fresh = sums.filled == 0;
        for (lane, column) in (at..at + n).enumerate() {
            let (sum, square) = (&mut sums.sum[column], &mut sums.square[column]);
            *sum = if fresh { self.sum[lane] } else { *sum + self.sum[lane] };
            *square = if fresh { self.square[lane] } else { *square + self.square[lane] };
            sums.positive[column] += self.above[lane] as u16;
            sums.negative[column] += self.below[lane] as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_tier_is_one_that_there_is() {
        assert!(Tier::available_tiers().any(|tier| tier == fastest()));
        assert!(Tier::available_tiers().all(|tier| trial(tier) < Duration::MAX));
    }

    #[test]
    fn every_tier_adds_the_same_bits() {
        let mut state = 1u32;
        // Numbers below 2 of either sign, subnormal ones and zeros among them.
        let mut value = |size: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mask = if state & 0x700 == 0 { 0x8000_0000 } else { 0xbfff_ffff };
            (state & mask).to_le_bytes().into_iter().skip(4 - size)
        };
        let bits = |sums: &[f32]| sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
        for dtype in [Float::Bf16, Float::F16, Float::F32] {
            for width in [1, 31, 32, 77, 160] {
                let bytes: Vec<u8> = (0..21 * width).flat_map(|_| value(dtype.size())).collect();
                let rows: Vec<&[u8]> = bytes.chunks_exact(width * dtype.size()).collect();
                let pilot: Vec<f32> = (0..width).map(|at| at as f32 / 7.0 - 1.0).collect();
                let mut first = None;
                for tier in Tier::available_tiers() {
                    let mut sums = Sums::new(width);
                    for group in rows.chunks(ROWS) {
                        sums.add(tier, dtype, group, &[], &pilot);
                    }
                    let found = (bits(&sums.sum), bits(&sums.square), sums.positive, sums.negative);
                    let wanted = first.get_or_insert_with(|| found.clone());
                    assert!(*wanted == found, "{dtype:?} {width} {}", tier.name());
                }
            }
        }
    }
}
