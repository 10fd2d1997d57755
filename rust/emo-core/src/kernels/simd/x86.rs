//! Column sums in x86 intrinsics, and the detection of what the processor has.
//!
//! A bf16 is the upper half of a single: of each pair of lanes one is shifted up, the other masked,
//! which costs less than widening; the even and odd columns are put back in order once per group.
//! Signs are counted by integer compares. Lines of the next group of rows are asked for ahead.

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _CMP_GT_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_loadu_si128,
    _mm_prefetch, _mm256_add_epi16, _mm256_add_ps, _mm256_and_si256, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cmpgt_epi16, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_packs_epi32, _mm256_permute2f128_ps, _mm256_permute4x64_epi64,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_slli_epi32, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi16, _mm256_sub_epi32,
    _mm256_sub_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps, _mm256_xor_si256, _mm512_add_epi16,
    _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask,
    _mm512_cmpgt_epi16_mask, _mm512_cmpgt_epu16_mask, _mm512_cvtepi32_epi16, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_add_epi16,
    _mm512_mask_add_epi32, _mm512_permutex2var_ps, _mm512_set1_epi16, _mm512_set1_epi32,
    _mm512_setr_epi32, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_ps,
};

use super::columns::{ROWS, Sums};
use crate::dtype::Float;

/// AVX2 with the fused and half-precision instructions that belong to it.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// The parts of AVX-512 that server and desktop processors share.
pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

/// Columns that the vector loops take at a time.
pub(super) const STRIDE: usize = 32;

/// One group of rows with the sums that it is added to.
pub(super) struct Group<'a> {
    rows: [*const u8; ROWS],
    ahead: [*const u8; ROWS],
    n_rows: usize,
    /// Columns of the vector loops, a multiple of [`STRIDE`].
    columns: usize,
    pilot: &'a [f32],
    sums: &'a mut Sums,
}

impl<'a> Group<'a> {
    /// Borrow a group; every row must hold all columns of `pilot`, as must the sums.
    pub(super) fn new(
        rows: &'a [&'a [u8]],
        ahead: &'a [&'a [u8]],
        size: usize,
        pilot: &'a [f32],
        sums: &'a mut Sums,
    ) -> Self {
        let columns = pilot.len() / STRIDE * STRIDE;
        let fits = rows.iter().all(|row| row.len() >= columns * size);
        assert!(
            fits && rows.len() <= ROWS && sums.width() == pilot.len(),
            "rows and sums must fit"
        );
        let first = rows.first().map_or(std::ptr::null(), |row| row.as_ptr());
        let mut group = Self {
            rows: [first; ROWS],
            ahead: [first; ROWS],
            n_rows: rows.len(),
            columns,
            pilot,
            sums,
        };
        for (slot, row) in group.rows.iter_mut().zip(rows) {
            *slot = row.as_ptr();
        }
        for (slot, row) in group.ahead.iter_mut().zip(ahead) {
            *slot = row.as_ptr();
        }
        group
    }
}

macro_rules! by_rows {
    ($function:ident, $group:expr) => {
        if $group.n_rows == ROWS { $function::<ROWS>($group) } else { $function::<0>($group) }
    };
}

/// Add a group with AVX-512; gives the number of columns that were done.
///
/// # Safety
/// The processor must have what [`has_avx512`] asks for.
pub(super) unsafe fn add_avx512(dtype: Float, group: &mut Group) -> usize {
    // SAFETY: the caller vouches for the instructions, `Group::new` for the bounds.
    unsafe {
        match dtype {
            Float::Bf16 => by_rows!(bf16_avx512, group),
            Float::F16 => by_rows!(f16_avx512, group),
            Float::F32 => by_rows!(f32_avx512, group),
        }
    }
    group.columns
}

/// Add a group with AVX2; gives the number of columns that were done.
///
/// # Safety
/// The processor must have what [`has_avx2`] asks for.
pub(super) unsafe fn add_avx2(dtype: Float, group: &mut Group) -> usize {
    // SAFETY: the caller vouches for the instructions, `Group::new` for the bounds.
    unsafe {
        match dtype {
            Float::Bf16 => by_rows!(bf16_avx2, group),
            Float::F16 => by_rows!(f16_avx2, group),
            Float::F32 => by_rows!(f32_avx2, group),
        }
    }
    group.columns
}

fn n_rows<const R: usize>(group: &Group) -> usize {
    if R == 0 { group.n_rows } else { R }
}

/// Ask for a line of a row that comes next; never faults.
#[inline]
fn ask(group: &Group, row: usize, offset: usize) {
    // SAFETY: a prefetch reads nothing and may name any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(group.ahead[row].wrapping_add(offset).cast()) }
}

// Pointers below: `at` and the lanes after it lie under `group.columns`, which `Group::new` has
// checked against the rows, the pilot and the sums.

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_ps_512(total: *mut f32, part: __m512, fresh: bool) {
    // SAFETY: 16 lanes within the sums, see above.
    unsafe {
        _mm512_storeu_ps(
            total,
            if fresh { part } else { _mm512_add_ps(_mm512_loadu_ps(total), part) },
        )
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn add_counts_512(total: *mut u16, part: __m512i) {
    // SAFETY: 32 lanes within the counts, see above.
    unsafe {
        _mm512_storeu_si512(total.cast(), _mm512_add_epi16(_mm512_loadu_si512(total.cast()), part))
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn bf16_avx512<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (sign, zero, one) =
        (_mm512_set1_epi16(i16::MIN), _mm512_setzero_si512(), _mm512_set1_epi16(1));
    for at in (0..group.columns).step_by(STRIDE) {
        // SAFETY: see the note on pointers.
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
            add_ps_512(sum, _mm512_permutex2var_ps(s[0], low, s[1]), fresh);
            add_ps_512(sum.add(16), _mm512_permutex2var_ps(s[0], high, s[1]), fresh);
            let square = group.sums.square.as_mut_ptr().add(at);
            add_ps_512(square, _mm512_permutex2var_ps(q[0], low, q[1]), fresh);
            add_ps_512(square.add(16), _mm512_permutex2var_ps(q[0], high, q[1]), fresh);
            add_counts_512(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts_512(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn f16_avx512<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let (sign, zero, one) =
        (_mm512_set1_epi16(i16::MIN), _mm512_setzero_si512(), _mm512_set1_epi16(1));
    for at in (0..group.columns).step_by(STRIDE) {
        // SAFETY: see the note on pointers.
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
                add_ps_512(group.sums.sum.as_mut_ptr().add(at + 16 * half), s[half], fresh);
                add_ps_512(group.sums.square.as_mut_ptr().add(at + 16 * half), q[half], fresh);
            }
            add_counts_512(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts_512(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn f32_avx512<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let (zero, one) = (_mm512_setzero_ps(), _mm512_set1_epi32(1));
    for at in (0..group.columns).step_by(16) {
        // SAFETY: see the note on pointers.
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
            add_ps_512(group.sums.sum.as_mut_ptr().add(at), s, fresh);
            add_ps_512(group.sums.square.as_mut_ptr().add(at), q, fresh);
            add_counts_256(group.sums.positive.as_mut_ptr().add(at), _mm512_cvtepi32_epi16(above));
            add_counts_256(group.sums.negative.as_mut_ptr().add(at), _mm512_cvtepi32_epi16(below));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_ps_256(total: *mut f32, part: __m256, fresh: bool) {
    // SAFETY: 8 lanes within the sums, see the note on pointers.
    unsafe {
        _mm256_storeu_ps(
            total,
            if fresh { part } else { _mm256_add_ps(_mm256_loadu_ps(total), part) },
        )
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_counts_256(total: *mut u16, part: __m256i) {
    // SAFETY: 16 lanes within the counts, see the note on pointers.
    unsafe {
        _mm256_storeu_si256(total.cast(), _mm256_add_epi16(_mm256_loadu_si256(total.cast()), part))
    }
}

/// The even and the odd lanes of sixteen columns, each in order but for the middle two pairs.
///
/// `split` and `join` undo each other: columns 0 2 4 6 | 8 10 12 14 and 1 3 5 7 | 9 11 13 15.
#[target_feature(enable = "avx2,fma,f16c")]
fn join(even: __m256, odd: __m256) -> [__m256; 2] {
    let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

#[target_feature(enable = "avx2,fma,f16c")]
fn split(first: __m256, second: __m256) -> [__m256; 2] {
    use std::arch::x86_64::_mm256_shuffle_ps;
    let (low, high) = (
        _mm256_permute2f128_ps::<0x20>(first, second),
        _mm256_permute2f128_ps::<0x31>(first, second),
    );
    [_mm256_shuffle_ps::<0b10_00_10_00>(low, high), _mm256_shuffle_ps::<0b11_01_11_01>(low, high)]
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn bf16_avx2<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    let (sign, zero) = (_mm256_set1_epi16(i16::MIN), _mm256_setzero_si256());
    for at in (0..group.columns).step_by(16) {
        // SAFETY: see the note on pointers.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let p = split(_mm256_loadu_ps(pilot), _mm256_loadu_ps(pilot.add(8)));
            let (mut s, mut q) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
            let (mut above, mut below) = (zero, zero);
            for row in 0..n_rows::<R>(group) {
                let x = _mm256_loadu_si256(group.rows[row].add(2 * at).cast());
                if at % STRIDE == 0 {
                    ask(group, row, 2 * at);
                }
                let halves = [_mm256_slli_epi32::<16>(x), _mm256_and_si256(x, upper)];
                for half in 0..2 {
                    let d = _mm256_sub_ps(_mm256_castsi256_ps(halves[half]), p[half]);
                    s[half] = _mm256_add_ps(s[half], d);
                    q[half] = _mm256_fmadd_ps(d, d, q[half]);
                }
                above = _mm256_sub_epi16(above, _mm256_cmpgt_epi16(x, zero));
                below =
                    _mm256_sub_epi16(below, _mm256_cmpgt_epi16(_mm256_xor_si256(x, sign), zero));
            }
            let (s, q) = (join(s[0], s[1]), join(q[0], q[1]));
            for half in 0..2 {
                add_ps_256(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                add_ps_256(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
            }
            add_counts_256(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts_256(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn f16_avx2<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let (sign, zero) = (_mm256_set1_epi16(i16::MIN), _mm256_setzero_si256());
    for at in (0..group.columns).step_by(16) {
        // SAFETY: see the note on pointers.
        unsafe {
            let pilot = group.pilot.as_ptr().add(at);
            let p = [_mm256_loadu_ps(pilot), _mm256_loadu_ps(pilot.add(8))];
            let (mut s, mut q) = ([_mm256_setzero_ps(); 2], [_mm256_setzero_ps(); 2]);
            let (mut above, mut below) = (zero, zero);
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
                let x = _mm256_loadu_si256(bits.cast());
                above = _mm256_sub_epi16(above, _mm256_cmpgt_epi16(x, zero));
                below =
                    _mm256_sub_epi16(below, _mm256_cmpgt_epi16(_mm256_xor_si256(x, sign), zero));
            }
            for half in 0..2 {
                add_ps_256(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                add_ps_256(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
            }
            add_counts_256(group.sums.positive.as_mut_ptr().add(at), above);
            add_counts_256(group.sums.negative.as_mut_ptr().add(at), below);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn f32_avx2<const R: usize>(group: &mut Group) {
    let fresh = group.sums.filled == 0;
    let zero = _mm256_setzero_ps();
    for at in (0..group.columns).step_by(16) {
        // SAFETY: see the note on pointers.
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
                add_ps_256(group.sums.sum.as_mut_ptr().add(at + 8 * half), s[half], fresh);
                add_ps_256(group.sums.square.as_mut_ptr().add(at + 8 * half), q[half], fresh);
            }
            add_counts_256(group.sums.positive.as_mut_ptr().add(at), narrow(above));
            add_counts_256(group.sums.negative.as_mut_ptr().add(at), narrow(below));
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn count(total: __m256i, mask: __m256) -> __m256i {
    use std::arch::x86_64::_mm256_castps_si256;
    _mm256_sub_epi32(total, _mm256_castps_si256(mask))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow(counts: [__m256i; 2]) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(counts[0], counts[1]))
}
