//! Products of four rows with panels of eight columns in single precision.
//!
//! `sums[r][c][l] = sum_t a[r, t] b[c][t, l]`: one rounding per term, in the order of t, starting
//! from zero; so an entry does not depend on which others are computed beside it.

#[cfg(target_arch = "x86_64")]
use super::Instructions;
use super::Tier;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Rows of a product.
pub const ROWS: usize = 4;
/// Columns of a panel.
pub const LANES: usize = 8;

/// A matrix of four rows inside a slice: entry (r, t) lies at `r * row + t * step`.
#[derive(Clone, Copy, Debug)]
pub struct FourRows<'a> {
    /// The slice, from the first entry on.
    pub values: &'a [f32],
    /// Distance from row to row.
    pub row: usize,
    /// Distance from term to term.
    pub step: usize,
}

/// Sums of products over the length of the panels, which are equally long.
///
/// # Panics
/// When the four rows end before the panels.
#[must_use]
pub fn panel_sums<const C: usize>(
    tier: Tier,
    a: FourRows,
    b: [&[[f32; LANES]]; C],
) -> [[[f32; LANES]; C]; ROWS] {
    let n = b[0].len();
    let b = b.map(|panel| &panel[..n]);
    let FourRows { values, row, step } = a;
    assert!(
        n == 0 || (ROWS - 1) * row + (n - 1) * step < values.len(),
        "the four rows end before the panels"
    );
    match tier.0 {
        // SAFETY: a tier exists only where its instructions were found, and AVX-512 brings AVX2;
        // lengths are checked above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx2 => unsafe {
            x86::avx2::panel_sums(values.as_ptr(), row, step, b)
        },
        _ => {
            let mut sums = [[[0.0f32; LANES]; C]; ROWS];
            for t in 0..n {
                for r in 0..ROWS {
                    let x = values[r * row + t * step];
                    for c in 0..C {
                        for lane in 0..LANES {
                            sums[r][c][lane] = x.mul_add(b[c][t][lane], sums[r][c][lane]);
                        }
                    }
                }
            }
            sums
        }
    }
}
