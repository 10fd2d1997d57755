//! Products of rows with a panel of sixteen columns, two cells at a time.

#[allow(clippy::wildcard_imports, reason = "a page of intrinsics")]
use std::arch::x86_64::*;

use super::super::outer::{LANES, Two, Twos};

/// Add the products of R rows with the panel `b` to R sums.
///
/// # Safety
/// The processor must have AVX2, every row must be as long as `b`, and there must be R sums.
#[target_feature(enable = "avx2")]
pub(in super::super) unsafe fn add_products<const R: usize>(
    a: [&[Two]; R],
    b: &[Twos],
    sums: &mut [[i32; LANES]],
) {
    let mut parts = [[_mm256_setzero_si256(); 2]; R];
    for (at, twos) in b.iter().enumerate() {
        let source: *const __m256i = std::ptr::from_ref(twos).cast();
        // SAFETY: sixteen pairs of 16-bit numbers, aligned.
        let columns = unsafe { [_mm256_load_si256(source), _mm256_load_si256(source.add(1))] };
        for row in 0..R {
            // SAFETY: one pair of 16-bit numbers within the row.
            let two = unsafe { a[row].as_ptr().add(at).cast::<i32>().read_unaligned() };
            let factor = _mm256_set1_epi32(two);
            for (part, column) in parts[row].iter_mut().zip(columns) {
                *part = _mm256_add_epi32(*part, _mm256_madd_epi16(factor, column));
            }
        }
    }
    for (part, sums) in parts.iter().zip(sums) {
        let target: *mut __m256i = sums.as_mut_ptr().cast();
        for half in 0..2 {
            // SAFETY: eight of the sixteen sums.
            unsafe {
                let target = target.add(half);
                let sum = _mm256_add_epi32(_mm256_loadu_si256(target), part[half]);
                _mm256_storeu_si256(target, sum);
            }
        }
    }
}
