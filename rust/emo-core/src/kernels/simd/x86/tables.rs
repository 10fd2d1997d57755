//! Products with permuted matrices: a row lies in registers and is looked up 32 columns at a time.

#[allow(clippy::wildcard_imports, reason = "a page of intrinsics")]
use std::arch::x86_64::*;

use super::super::permuted::{Table, WIDE};

/// Sum over i < j of `a[i, j] b[rows[i], rows[j]]`, where `a` is zero at and below the diagonal.
///
/// # Safety
/// The processor must have AVX-512 F and BW; `a` and `b` have rows of `width` tables, 1 or an even
/// number up to 8, of which `rows` fills no more; `b` has one for every number in `rows`.
pub(in super::super) unsafe fn sum(a: &[Table], b: &[Table], width: usize, rows: &[u16]) -> i64 {
    // SAFETY: as the caller vouches.
    unsafe {
        match width {
            1 => sum_of::<1>(a, b, rows),
            2 => sum_of::<2>(a, b, rows),
            4 => sum_of::<4>(a, b, rows),
            6 => sum_of::<6>(a, b, rows),
            _ => sum_of::<8>(a, b, rows),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn sum_of<const T: usize>(a: &[Table], b: &[Table], rows: &[u16]) -> i64 {
    let (mut columns, mut masks) = ([_mm512_setzero_si512(); T], [[0; T]; T]);
    for (block, rows) in rows.as_chunks::<WIDE>().0.iter().take(T).enumerate() {
        // SAFETY: 32 numbers.
        columns[block] = unsafe { _mm512_loadu_si512(rows.as_ptr().cast()) };
        let pair = _mm512_srli_epi16::<6>(columns[block]);
        for (number, mask) in masks[block].iter_mut().enumerate() {
            *mask = _mm512_cmpeq_epi16_mask(pair, _mm512_set1_epi16(number as i16));
        }
    }
    // A lane takes two columns of a: by Cauchy and Schwarz less than 2 * 2^30 in size, see `Product`.
    let mut sums = [_mm512_setzero_si512(); T];
    let parts = a.chunks(WIDE * T).zip(rows.chunks(WIDE));
    for (first, (a, rows)) in parts.enumerate() {
        // SAFETY: b has a row of T tables for every number.
        unsafe {
            match first {
                0 => add::<T, 0>(a, b, rows, &columns, &masks, &mut sums),
                1 => add::<T, 1>(a, b, rows, &columns, &masks, &mut sums),
                2 => add::<T, 2>(a, b, rows, &columns, &masks, &mut sums),
                3 => add::<T, 3>(a, b, rows, &columns, &masks, &mut sums),
                4 => add::<T, 4>(a, b, rows, &columns, &masks, &mut sums),
                5 => add::<T, 5>(a, b, rows, &columns, &masks, &mut sums),
                6 => add::<T, 6>(a, b, rows, &columns, &masks, &mut sums),
                _ => add::<T, 7>(a, b, rows, &columns, &masks, &mut sums),
            }
        }
    }
    let mut total = _mm512_setzero_si512();
    for sum in sums {
        let (low, high) = (_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        total = _mm512_add_epi64(total, _mm512_cvtepi32_epi64(low));
        total = _mm512_add_epi64(total, _mm512_cvtepi32_epi64(high));
    }
    _mm512_reduce_add_epi64(total)
}

/// Add up to 32 rows of a, which are zero before table FIRST.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add<const T: usize, const FIRST: usize>(
    a: &[Table],
    b: &[Table],
    rows: &[u16],
    columns: &[__m512i; T],
    masks: &[[u32; T]; T],
    sums: &mut [__m512i; T],
) {
    for (weights, row) in a.as_chunks::<T>().0.iter().zip(rows) {
        // SAFETY: b has this row of T tables.
        let tables: [__m512i; T] = unsafe {
            let first = b.as_ptr().add(usize::from(*row) * T);
            std::array::from_fn(|at| _mm512_load_si512(first.add(at).cast()))
        };
        for block in FIRST..T {
            let found = look_up(&tables, columns[block], &masks[block]);
            // SAFETY: one table.
            let weights = unsafe { _mm512_load_si512(std::ptr::from_ref(&weights[block]).cast()) };
            sums[block] = _mm512_add_epi32(sums[block], _mm512_madd_epi16(found, weights));
        }
    }
}

/// The entries `columns` of a row: each lane is found by the pair of tables that holds its column,
/// and keeps the number of its column until then.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn look_up<const T: usize>(tables: &[__m512i; T], columns: __m512i, masks: &[u32; T]) -> __m512i {
    match T {
        1 => _mm512_permutexvar_epi16(columns, tables[0]),
        2 => _mm512_permutex2var_epi16(tables[0], columns, tables[1]),
        _ => {
            let mut found = columns;
            for pair in 0..T / 2 {
                let (low, high) = (tables[2 * pair], tables[2 * pair + 1]);
                found = _mm512_mask2_permutex2var_epi16(low, found, masks[pair], high);
            }
            found
        }
    }
}
