//! Column sums in x86 intrinsics, and the detection of what the processor has.
//!
//! Pointers in the two modules: the vector loops read and write lanes below `Group::columns`, which
//! `Group::new` has checked against the rows, the pilot and the sums.
//!
//! A bf16 is the upper half of a single: of each pair of lanes one is shifted up, the other masked,
//! which costs less than widening; the even and odd columns are put back in order once per group.
//! Signs are counted by integer compares. Lines of the next group of rows are asked for ahead, into
//! the second cache: a group fills the first one, and rows that lie a multiple of the page apart share
//! their places in it.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod outer;
pub(super) mod permuted;
pub(super) mod tables;

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

/// Set the control register to its default: round to nearest, no flushing, no traps.
pub(super) fn reset_rounding() {
    let mode = 0x1f80u32;
    // SAFETY: loads one valid control word from a live local; nothing else changes.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, readonly)) }
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
    ($module:ident::$function:ident, $group:expr) => {
        if $group.n_rows == ROWS {
            $module::$function::<ROWS>($group)
        } else {
            $module::$function::<0>($group)
        }
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
            Float::Bf16 => by_rows!(avx512::bf16, group),
            Float::F16 => by_rows!(avx512::f16, group),
            Float::F32 => by_rows!(avx512::f32, group),
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
            Float::Bf16 => by_rows!(avx2::bf16, group),
            Float::F16 => by_rows!(avx2::f16, group),
            Float::F32 => by_rows!(avx2::f32, group),
        }
    }
    group.columns
}

fn n_rows<const R: usize>(group: &Group) -> usize {
    if R == 0 { group.n_rows } else { R }
}

/// Ask for the line at an address; never faults.
#[inline(always)]
pub(super) fn ask_for(at: *const u8) {
    // SAFETY: a prefetch reads nothing and may name any address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
}

/// Ask for a line of a row that comes next.
#[inline]
fn ask(group: &Group, row: usize, offset: usize) {
    ask_for(group.ahead[row].wrapping_add(offset));
}
