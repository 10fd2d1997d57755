//! Column sums with AVX2, FMA and F16C: 16 columns at a time, of bf16 32: their sums wait for each
//! other less.

#[allow(clippy::wildcard_imports, reason = "a page of intrinsics")]
use std::arch::x86_64::*;

use super::{Group, STRIDE, ask, n_rows};

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_sums(total: *mut f32, part: __m256, fresh: bool) {
    // SAFETY: 8 lanes within the sums, see the parent module.
    unsafe {
        let sum = if fresh { part } else { _mm256_add_ps(_mm256_loadu_ps(total), part) };
        _mm256_storeu_ps(total, sum);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_counts(total: *mut u16, part: __m256i) {
    // SAFETY: 16 lanes within the counts, see the parent module.
    unsafe {
        let sum = _mm256_add_epi16(_mm256_loadu_si256(total.cast()), part);
        _mm256_storeu_si256(total.cast(), sum);
    }
}

/// Sixteen columns in order from the even and the odd ones.
#[target_feature(enable = "avx2,fma,f16c")]
fn join(even: __m256, odd: __m256) -> [__m256; 2] {
    let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

/// The even and the odd columns of sixteen; undoes `join`.
#[target_feature(enable = "avx2,fma,f16c")]
fn split(first: __m256, second: __m256) -> [__m256; 2] {
    let (low, high) = (
        _mm256_permute2f128_ps::<0x20>(first, second),
        _mm256_permute2f128_ps::<0x31>(first, second),
    );
    [_mm256_shuffle_ps::<0b10_00_10_00>(low, high), _mm256_shuffle_ps::<0b11_01_11_01>(low, high)]
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn bf16<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    for at in (0..group.columns).step_by(STRIDE) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let mut p = [_mm256_setzero_ps(); 4];
            for pair in 0..2 {
                let pilot = pilot.add(16 * pair);
                [p[2 * pair], p[2 * pair + 1]] =
                    split(_mm256_loadu_ps(pilot), _mm256_loadu_ps(pilot.add(8)));
            }
            let (mut s, mut q) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
            let mut signs = [Signs::new(); 2];
            for row in 0..n_rows::<R>(group) {
                ask(group, row, 2 * at);
                for pair in 0..2 {
                    let x = _mm256_loadu_si256(group.rows[row].add(2 * at + 32 * pair).cast());
                    let halves = [_mm256_slli_epi32::<16>(x), _mm256_and_si256(x, upper)];
                    for (half, x) in halves.into_iter().enumerate() {
                        let half = 2 * pair + half;
                        let d = _mm256_sub_ps(_mm256_castsi256_ps(x), p[half]);
                        s[half] = _mm256_add_ps(s[half], d);
                        q[half] = _mm256_fmadd_ps(d, d, q[half]);
                    }
                    signs[pair].count(x);
                }
            }
            for pair in 0..2 {
                let at = at + 16 * pair;
                let (s, q) =
                    (join(s[2 * pair], s[2 * pair + 1]), join(q[2 * pair], q[2 * pair + 1]));
                for half in 0..2 {
                    add_sums(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                    add_sums(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
                }
                signs[pair].store(group, at);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn f16<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    for at in (0..group.columns).step_by(16) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let p = [_mm256_loadu_ps(pilot), _mm256_loadu_ps(pilot.add(8))];
            let (mut s, mut q) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
            let mut signs = Signs::new();
            for row in 0..n_rows::<R>(group) {
                let bits = group.rows[row].add(2 * at);
                if at % STRIDE == 0 {
                    ask(group, row, 2 * at);
                }
                for half in 0..2 {
                    let x = _mm256_cvtph_ps(_mm_loadu_si128(bits.add(16 * half).cast()));
                    let d = _mm256_sub_ps(x, p[half]);
                    s[half] = _mm256_add_ps(s[half], d);
                    q[half] = _mm256_fmadd_ps(d, d, q[half]);
                }
                signs.count(_mm256_loadu_si256(bits.cast()));
            }
            for half in 0..2 {
                add_sums(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                add_sums(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
            }
            signs.store(group, at);
        }
    }
}

/// How many rows are above and below zero, in sixteen columns of half-precision numbers.
#[derive(Clone, Copy)]
struct Signs {
    above: __m256i,
    below: __m256i,
}

impl Signs {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn new() -> Self {
        Self { above: _mm256_setzero_si256(), below: _mm256_setzero_si256() }
    }

    /// Count one row by its bits.
    #[target_feature(enable = "avx2,fma,f16c")]
    fn count(&mut self, x: __m256i) {
        let (sign, zero) = (_mm256_set1_epi16(i16::MIN), _mm256_setzero_si256());
        let turned = _mm256_xor_si256(x, sign);
        self.above = _mm256_sub_epi16(self.above, _mm256_cmpgt_epi16(x, zero));
        self.below = _mm256_sub_epi16(self.below, _mm256_cmpgt_epi16(turned, zero));
    }

    /// Add to the counts from column `at` on.
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(self, group: &mut Group, at: usize) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            add_counts(group.sums.positive.as_mut_ptr().add(at), self.above);
            add_counts(group.sums.negative.as_mut_ptr().add(at), self.below);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn f32<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let zero = _mm256_setzero_ps();
    for at in (0..group.columns).step_by(16) {
        // SAFETY: lanes below `columns`, see the parent module.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let p = [_mm256_loadu_ps(pilot), _mm256_loadu_ps(pilot.add(8))];
            let (mut s, mut q) = ([zero; 2], [zero; 2]);
            let (mut above, mut below) = ([_mm256_setzero_si256(); 2], [_mm256_setzero_si256(); 2]);
            for row in 0..n_rows::<R>(group) {
                let values = group.rows[row].add(4 * at);
                ask(group, row, 4 * at);
                for half in 0..2 {
                    let x = _mm256_loadu_ps(values.add(32 * half).cast());
                    let d = _mm256_sub_ps(x, p[half]);
                    s[half] = _mm256_add_ps(s[half], d);
                    q[half] = _mm256_fmadd_ps(d, d, q[half]);
                    above[half] = count(above[half], _mm256_cmp_ps::<_CMP_GT_OQ>(x, zero));
                    below[half] = count(below[half], _mm256_cmp_ps::<_CMP_LT_OQ>(x, zero));
                }
            }
            for half in 0..2 {
                add_sums(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                add_sums(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
            }
            add_counts(group.sums.positive.as_mut_ptr().add(at), narrow(above));
            add_counts(group.sums.negative.as_mut_ptr().add(at), narrow(below));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn count(total: __m256i, mask: __m256) -> __m256i {
    _mm256_sub_epi32(total, _mm256_castps_si256(mask))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow(counts: [__m256i; 2]) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(counts[0], counts[1]))
}

/// Add the products of R rows with K vectors to lane sums, `stride` apart from row to row.
///
/// # Safety
/// The processor must have what [`super::has_avx2`] asks for.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn add_products<const R: usize, const K: usize>(
    x: [&[[f64; 8]]; R],
    w: [&[[f64; 8]]; K],
    total: &mut [[f64; 8]],
    stride: usize,
) {
    for half in [0, 4] {
        let mut sums = [[_mm256_setzero_pd(); K]; R];
        for row in 0..R {
            for vector in 0..K {
                sums[row][vector] = load(&total[row * stride + vector], half);
            }
        }
        for chunk in 0..w[0].len() {
            let w: [__m256d; K] = std::array::from_fn(|vector| load(&w[vector][chunk], half));
            for row in 0..R {
                let x = load(&x[row][chunk], half);
                for vector in 0..K {
                    sums[row][vector] = _mm256_fmadd_pd(x, w[vector], sums[row][vector]);
                }
            }
        }
        for row in 0..R {
            for vector in 0..K {
                let out = &mut total[row * stride + vector];
                // SAFETY: four lanes into either half of an array of eight.
                unsafe { _mm256_storeu_pd(out.as_mut_ptr().add(half), sums[row][vector]) };
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn load(lanes: &[f64; 8], half: usize) -> __m256d {
    // SAFETY: four lanes from either half of an array of eight.
    unsafe { _mm256_loadu_pd(lanes.as_ptr().add(half)) }
}

/// The same pointer, which the compiler may not use before `sum` is there.
///
/// Twelve sums, three panels and one value fill the sixteen registers; the compiler would bring the
/// next value ahead and spill a sum in each round, whose way through memory doubles the time.
#[target_feature(enable = "avx2,fma,f16c")]
fn after(mut at: *const f32, sum: __m256) -> *const f32 {
    // SAFETY: no instruction; the pointer passes through a register.
    unsafe {
        std::arch::asm!(
            "/* {0} {1} */", inout(reg) at, in(ymm_reg) sum,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    at
}

/// Sums `out[r][c][l] = sum_t a[r * row + t * step] * b[c][t][l]` for four r, in the order of t.
///
/// # Safety
/// The processor must have what [`super::has_avx2`] asks for, all of `b` be as long as `b[0]`, and
/// `a` be readable at `r * row + t * step` for every r below 4 and t below that length.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn panel_sums<const C: usize>(
    a: *const f32,
    row: usize,
    step: usize,
    b: [&[[f32; 8]]; C],
) -> [[[f32; 8]; C]; 4] {
    let mut sums = [[_mm256_setzero_ps(); C]; 4];
    let b_rows = b.map(|panel| panel.as_ptr().cast::<f32>());
    let mut at = a;
    for t in 0..b[0].len() {
        // SAFETY: the caller vouches for `a` and for the length of every panel.
        unsafe {
            let b: [__m256; C] = std::array::from_fn(|c| _mm256_loadu_ps(b_rows[c].add(8 * t)));
            for r in 0..4 {
                let x = _mm256_broadcast_ss(&*at.add(r * row));
                for c in 0..C {
                    sums[r][c] = _mm256_fmadd_ps(x, b[c], sums[r][c]);
                    at = after(at, sums[r][c]);
                }
            }
        }
        at = at.wrapping_add(step);
    }
    let mut out = [[[0.0; 8]; C]; 4];
    for r in 0..4 {
        for c in 0..C {
            // SAFETY: eight lanes into an array of eight.
            unsafe { _mm256_storeu_ps(out[r][c].as_mut_ptr(), sums[r][c]) };
        }
    }
    out
}
