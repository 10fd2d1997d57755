//! Column sums with AVX-512: 32 columns at a time, 16 for singles.

#[allow(clippy::wildcard_imports, reason = "a page of intrinsics")]
use std::arch::x86_64::*;

use super::{Group, STRIDE, ask, n_rows};

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_sums(total: *mut f32, part: __m512, fresh: bool) {
    // SAFETY: 16 lanes within the sums, see the parent module.
    unsafe {
        let sum = if fresh { part } else { _mm512_add_ps(_mm512_loadu_ps(total), part) };
        _mm512_storeu_ps(total, sum);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_counts(total: *mut u16, part: __m512i) {
    // SAFETY: 32 lanes within the counts, see the parent module.
    unsafe {
        let sum = _mm512_add_epi16(_mm512_loadu_si512(total.cast()), part);
        _mm512_storeu_si512(total.cast(), sum);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx2")]
unsafe fn add_half_counts(total: *mut u16, part: __m256i) {
    // SAFETY: 16 lanes within the counts, see the parent module.
    unsafe {
        let sum = _mm256_add_epi16(_mm256_loadu_si256(total.cast()), part);
        _mm256_storeu_si256(total.cast(), sum);
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn bf16<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (sign, zero, one) =
        (_mm512_set1_epi16(i16::MIN), _mm512_setzero_si512(), _mm512_set1_epi16(1));
    for at in (0..group.columns).step_by(STRIDE) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let (p0, p1) = (_mm512_loadu_ps(pilot), _mm512_loadu_ps(pilot.add(16)));
            let p = [_mm512_permutex2var_ps(p0, even, p1), _mm512_permutex2var_ps(p0, odd, p1)];
            let (mut s, mut q) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
            let (mut above, mut below) = (zero, zero);
            for row in 0..n_rows::<R>(group) {
                let x = _mm512_loadu_si512(group.rows[row].add(2 * at).cast());
                ask(group, row, 2 * at);
                let halves = [_mm512_slli_epi32::<16>(x), _mm512_and_si512(x, upper)];
                for half in 0..2 {
                    let d = _mm512_sub_ps(_mm512_castsi512_ps(halves[half]), p[half]);
                    s[half] = _mm512_add_ps(s[half], d);
                    q[half] = _mm512_fmadd_ps(d, d, q[half]);
                }
                above = _mm512_mask_add_epi16(above, _mm512_cmpgt_epi16_mask(x, zero), above, one);
                below = _mm512_mask_add_epi16(below, _mm512_cmpgt_epu16_mask(x, sign), below, one);
            }
            let sum = group.sums.sum.as_mut_ptr().add(at);
            add_sums(sum, _mm512_permutex2var_ps(s[0], low, s[1]), fresh);
            add_sums(sum.add(16), _mm512_permutex2var_ps(s[0], high, s[1]), fresh);
            let square = group.sums.square.as_mut_ptr().add(at);
            add_sums(square, _mm512_permutex2var_ps(q[0], low, q[1]), fresh);
            add_sums(square.add(16), _mm512_permutex2var_ps(q[0], high, q[1]), fresh);
            add_counts(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn f16<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let (sign, zero, one) =
        (_mm512_set1_epi16(i16::MIN), _mm512_setzero_si512(), _mm512_set1_epi16(1));
    for at in (0..group.columns).step_by(STRIDE) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let p = [_mm512_loadu_ps(pilot), _mm512_loadu_ps(pilot.add(16))];
            let (mut s, mut q) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
            let (mut above, mut below) = (zero, zero);
            for row in 0..n_rows::<R>(group) {
                let bits = group.rows[row].add(2 * at);
                ask(group, row, 2 * at);
                for half in 0..2 {
                    let x = _mm512_cvtph_ps(_mm256_loadu_si256(bits.add(32 * half).cast()));
                    let d = _mm512_sub_ps(x, p[half]);
                    s[half] = _mm512_add_ps(s[half], d);
                    q[half] = _mm512_fmadd_ps(d, d, q[half]);
                }
                let x = _mm512_loadu_si512(bits.cast());
                above = _mm512_mask_add_epi16(above, _mm512_cmpgt_epi16_mask(x, zero), above, one);
                below = _mm512_mask_add_epi16(below, _mm512_cmpgt_epu16_mask(x, sign), below, one);
            }
            for half in 0..2 {
                add_sums(group.sums.sum.as_mut_ptr().add(at + 16 * half), s[half], fresh);
                add_sums(group.sums.square.as_mut_ptr().add(at + 16 * half), q[half], fresh);
            }
            add_counts(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn f32<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let (zero, one) = (_mm512_setzero_ps(), _mm512_set1_epi32(1));
    for at in (0..group.columns).step_by(16) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let p = _mm512_loadu_ps(group.pilot.as_ptr().add(at));
            let (mut s, mut q) = (zero, zero);
            let (mut above, mut below) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for row in 0..n_rows::<R>(group) {
                let x = _mm512_loadu_ps(group.rows[row].add(4 * at).cast());
                ask(group, row, 4 * at);
                let d = _mm512_sub_ps(x, p);
                s = _mm512_add_ps(s, d);
                q = _mm512_fmadd_ps(d, d, q);
                let (up, down) = (
                    _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, zero),
                    _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, zero),
                );
                above = _mm512_mask_add_epi32(above, up, above, one);
                below = _mm512_mask_add_epi32(below, down, below, one);
            }
            add_sums(group.sums.sum.as_mut_ptr().add(at), s, fresh);
            add_sums(group.sums.square.as_mut_ptr().add(at), q, fresh);
            add_half_counts(group.sums.positive.as_mut_ptr().add(at), _mm512_cvtepi32_epi16(above));
            add_half_counts(group.sums.negative.as_mut_ptr().add(at), _mm512_cvtepi32_epi16(below));
        }
    }
}

/// Add the products of R rows with K vectors to lane sums, `stride` apart from row to row.
///
/// # Safety
/// The processor must have what [`super::has_avx512`] asks for.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in super::super) unsafe fn add_products<const R: usize, const K: usize>(
    x: [&[[f64; 8]]; R],
    w: [&[[f64; 8]]; K],
    total: &mut [[f64; 8]],
    stride: usize,
) {
    let mut sums = [[_mm512_setzero_pd(); K]; R];
    for row in 0..R {
        for vector in 0..K {
            sums[row][vector] = load(&total[row * stride + vector]);
        }
    }
    for chunk in 0..w[0].len() {
        let w: [__m512d; K] = std::array::from_fn(|vector| load(&w[vector][chunk]));
        for row in 0..R {
            let x = load(&x[row][chunk]);
            for vector in 0..K {
                sums[row][vector] = _mm512_fmadd_pd(x, w[vector], sums[row][vector]);
            }
        }
    }
    for row in 0..R {
        for vector in 0..K {
            let out = &mut total[row * stride + vector];
            // SAFETY: eight lanes into an array of eight.
            unsafe { _mm512_storeu_pd(out.as_mut_ptr(), sums[row][vector]) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load(lanes: &[f64; 8]) -> __m512d {
    // SAFETY: eight lanes from an array of eight.
    unsafe { _mm512_loadu_pd(lanes.as_ptr()) }
}
