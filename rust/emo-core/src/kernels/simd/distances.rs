//! Squared Euclidean distance of two rows: eight lanes, then pairwise.

use super::{Tier, dispatch};

const LANES: usize = 8;

/// `sum_j (x[j] - y[j])^2`; lane l adds columns l, l + 8 ..., a short last group counts as padded.
#[must_use]
pub fn squared_distance(tier: Tier, x: &[f64], y: &[f64]) -> f64 {
    dispatch!(tier, squared(x: &[f64] = x, y: &[f64] = y) -> f64)
}

#[inline(always)]
fn squared(x: &[f64], y: &[f64]) -> f64 {
    let mut s = [0.0; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            let d = x[lane] - y[lane];
            s[lane] += d * d;
        }
    }
    for (s, (x, y)) in s.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        let d = x - y;
        *s += d * d;
    }
    ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}
