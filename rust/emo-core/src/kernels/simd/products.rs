//! Sums of outer products in double precision: `c[i, j] += sum over rows r of a[r, i] b[r, j]`.
//!
//! Each sum runs over the rows in order with one rounding per row, from zero, and is then added to
//! its cell; no order depends on how cells are grouped.

use super::{Tier, dispatch};

/// Columns of a panel: rows of a panel are kept in one or two registers.
pub const PANEL: usize = 8;
/// Columns of `a` whose sums are kept in registers together.
const COLUMNS: usize = 4;

/// One panel of a row-by-row matrix.
pub type Panel = [[f64; PANEL]];

/// Add the products of two panels of equally many rows to a block of sums.
pub fn add_outer(tier: Tier, a: &Panel, b: &Panel, c: &mut [[f64; PANEL]; PANEL]) {
    dispatch!(tier, outer(a: &Panel = a, b: &Panel = b, c: &mut [[f64; PANEL]; PANEL] = c));
}

#[inline(always)]
fn outer(a: &Panel, b: &Panel, c: &mut [[f64; PANEL]; PANEL]) {
    for (half, c) in c.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [[0.0; PANEL]; COLUMNS];
        for (a, b) in a.iter().zip(b) {
            for i in 0..COLUMNS {
                for j in 0..PANEL {
                    sums[i][j] = a[half * COLUMNS + i].mul_add(b[j], sums[i][j]);
                }
            }
        }
        for (c, sums) in c.iter_mut().zip(&sums) {
            for (c, sum) in c.iter_mut().zip(sums) {
                *c += sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_adds_the_same_bits() {
        let value = |at: usize| ((at * 7919 % 1013) as f64 - 500.0) / 7.0;
        let a: Vec<[f64; PANEL]> =
            (0..37).map(|r| std::array::from_fn(|i| value(r * 8 + i))).collect();
        let b: Vec<[f64; PANEL]> =
            (0..37).map(|r| std::array::from_fn(|i| value(r * 31 + i + 5))).collect();
        let mut plain = [[0.5; PANEL]; PANEL];
        for i in 0..PANEL {
            for j in 0..PANEL {
                let dot = a.iter().zip(&b).fold(0.0, |sum: f64, (a, b)| a[i].mul_add(b[j], sum));
                plain[i][j] += dot;
            }
        }
        for tier in Tier::available_tiers() {
            let mut found = [[0.5; PANEL]; PANEL];
            add_outer(tier, &a, &b, &mut found);
            assert_eq!(found, plain, "{}", tier.name());
        }
    }
}
