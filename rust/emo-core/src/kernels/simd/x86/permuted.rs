//! Products with permuted matrices: sixteen rows of b transposed in registers, eight columns a turn.

#[allow(clippy::wildcard_imports, reason = "a page of intrinsics")]
use std::arch::x86_64::*;

use super::super::permuted::{Block, LANES};

/// Sum over i, j of `a[j, i] b[rows[i], rows[j]]`, where `a[j]` begins at byte `starts[rows[j]]` of a
/// strip.
///
/// # Safety
/// The processor must have AVX2; with n conditions and `blocks` blocks of them, `rows` and `starts`
/// have `blocks * LANES` numbers, `a` holds `blocks` strips of n blocks, every number in `starts` is
/// where one of n blocks begins, and `b` has a row of `blocks` blocks for every number in `rows`.
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn product(
    a: &[Block],
    b: &[Block],
    n: usize,
    rows: &[u16],
    starts: &[u16],
) -> i64 {
    let (blocks, mut total) = (n.div_ceil(LANES), _mm256_setzero_si256());
    for (strip, rows) in a.chunks_exact(n).zip(rows.chunks_exact(LANES)) {
        // Lane l of the sums takes rows 2 l and 2 l + 1 of the strip: by Cauchy and Schwarz less
        // than 2 * 2^30 in size, see `Rows`.
        let mut sums = [_mm256_setzero_si256(); 2];
        let mut sources = [std::ptr::null::<__m128i>(); LANES];
        for (source, row) in sources.iter_mut().zip(rows) {
            // SAFETY: b has this row.
            *source = unsafe { b.as_ptr().add(usize::from(*row) * blocks).cast() };
        }
        for (half, starts) in starts.chunks_exact(8).enumerate() {
            // SAFETY: each row has 2 * blocks halves.
            let columns = unsafe { transposed(&sources, half) };
            for (at, (column, start)) in columns.into_iter().zip(starts).enumerate() {
                // SAFETY: a block of the strip, aligned.
                let weights = unsafe {
                    _mm256_load_si256(strip.as_ptr().byte_add(usize::from(*start)).cast())
                };
                let sum = &mut sums[at % 2];
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(column, weights));
            }
        }
        let sum = _mm256_add_epi32(sums[0], sums[1]);
        let (low, high) = (_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        total = _mm256_add_epi64(total, _mm256_cvtepi32_epi64(low));
        total = _mm256_add_epi64(total, _mm256_cvtepi32_epi64(high));
    }
    let pair = _mm_add_epi64(_mm256_castsi256_si128(total), _mm256_extracti128_si256::<1>(total));
    _mm_extract_epi64::<0>(pair) + _mm_extract_epi64::<1>(pair)
}

/// Eight columns of sixteen rows.
///
/// # Safety
/// The processor must have AVX2, and each source at least `half + 1` groups of eight.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transposed(sources: &[*const __m128i; LANES], half: usize) -> [__m256i; 8] {
    let mut r = [_mm256_setzero_si256(); 8];
    for k in 0..8 {
        // SAFETY: eight values of each of two rows, as the caller vouches.
        let (low, high) = unsafe {
            (_mm_load_si128(sources[k].add(half)), _mm_load_si128(sources[k + 8].add(half)))
        };
        r[k] = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
    }
    let low = |x, y| _mm256_unpacklo_epi16(x, y);
    let high = |x, y| _mm256_unpackhi_epi16(x, y);
    let a = [low(r[0], r[1]), low(r[2], r[3]), low(r[4], r[5]), low(r[6], r[7])];
    let b = [high(r[0], r[1]), high(r[2], r[3]), high(r[4], r[5]), high(r[6], r[7])];
    let mut out = [_mm256_setzero_si256(); 8];
    for (at, x) in [a, b].into_iter().enumerate() {
        let (p, q) = (_mm256_unpacklo_epi32(x[0], x[1]), _mm256_unpackhi_epi32(x[0], x[1]));
        let (s, t) = (_mm256_unpacklo_epi32(x[2], x[3]), _mm256_unpackhi_epi32(x[2], x[3]));
        out[at * 4] = _mm256_unpacklo_epi64(p, s);
        out[at * 4 + 1] = _mm256_unpackhi_epi64(p, s);
        out[at * 4 + 2] = _mm256_unpacklo_epi64(q, t);
        out[at * 4 + 3] = _mm256_unpackhi_epi64(q, t);
    }
    out
}
