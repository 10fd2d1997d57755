//! Orthonormal bases of the row spans of many sets of vectors.
//!
//! A set X `[n, d]` has its rows scaled to length 1. With the Cholesky factor L of X X^T the rows of
//! L^-1 X are orthonormal to about cond(X)^2 rounding errors, and once more to rounding
//! (Cholesky-QR2). Where the rows are nearly dependent, a Householder QR of X^T with column pivoting
//! decides the rank: a row counts when what the rows before it leave of it is longer than the
//! tolerance. O(n^2 d) for each set; every step has a fixed order, so the bits depend on the set
//! alone.

use std::ops::Range;

use super::simd::Tier;
use super::simd::dots::{add_scaled_rows, dot, gram};
use crate::error::{Error, Result};
use crate::scan::{Control, check_cancel};

/// Smallest squared pivot with which the Cholesky factor is trusted.
const PIVOT: f64 = 1e-6;
/// Largest deviation from orthonormal rows after one round that the second one mends.
const DEVIATION: f64 = 0.1;

/// Vectors of one set, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// Single precision.
    Single(&'a [f32]),
    /// Double precision.
    Double(&'a [f64]),
}

impl Vectors<'_> {
    /// Values of all rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
        }
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of this range.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::Single(values) => Self::Single(&values[range]),
            Self::Double(values) => Self::Double(&values[range]),
        }
    }

    /// Copy the values in double precision.
    pub fn widen(&self, out: &mut Vec<f64>) {
        out.clear();
        match self {
            Self::Single(values) => out.extend(values.iter().map(|value| f64::from(*value))),
            Self::Double(values) => out.extend_from_slice(values),
        }
    }
}

/// An orthonormal basis of the row span of `(n, width)` vectors in `basis`, row by row; its length
/// over the width is the rank.
///
/// ```
/// use emo_core::kernels::basis::{Vectors, orthonormal_basis};
/// use emo_core::scan::Control;
/// let cancel = std::sync::atomic::AtomicBool::new(false);
/// let (control, mut basis) = (Control::new(1, &cancel)?, Vec::new());
/// let twice = [3.0, 4.0, 6.0, 8.0];
/// orthonormal_basis(Vectors::Double(&twice), 2, 1e-12, "x", &mut basis, &control)?;
/// assert_eq!(basis.len(), 2);
/// # Ok::<(), emo_core::error::Error>(())
/// ```
pub fn orthonormal_basis(
    vectors: Vectors,
    width: usize,
    tolerance: f64,
    name: &str,
    basis: &mut Vec<f64>,
    control: &Control,
) -> Result<()> {
    let tier = control.tier;
    if width == 0 || !vectors.len().is_multiple_of(width) {
        return Err(Error::usage(format!(
            "{name} has {} values, no multiple of the width {width}",
            vectors.len()
        )));
    }
    vectors.widen(basis);
    let all_there = scale_rows(basis, width, tier, name)?;
    if all_there
        && (1..=width * width).contains(&basis.len())
        && cholesky_round(basis, width, tier, None)
        && cholesky_round(basis, width, tier, Some(DEVIATION))
    {
        return Ok(());
    }
    vectors.widen(basis);
    scale_rows(basis, width, tier, name)?;
    *basis = householder(basis, width, tolerance, control)?;
    Ok(())
}

/// Scale each row to length 1; false when a row is zero. A value that is not finite is named.
fn scale_rows(rows: &mut [f64], width: usize, tier: Tier, name: &str) -> Result<bool> {
    let mut all_there = true;
    for (index, row) in rows.chunks_exact_mut(width).enumerate() {
        let mut square = dot(tier, row, row);
        // Squares of tiny and of huge values leave the range of doubles.
        if !(1e-200..1e200).contains(&square) {
            if let Some(column) = row.iter().position(|value| !value.is_finite()) {
                return Err(Error::numerical(format!(
                    "{name} holds {} at row {index}, column {column}",
                    row[column]
                ))
                .hint("leave this vector out, or compute it again in a wider dtype"));
            }
            let largest = row.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            if largest == 0.0 {
                all_there = false;
                continue;
            }
            for value in row.iter_mut() {
                *value /= largest;
            }
            square = dot(tier, row, row);
        }
        let scale = 1.0 / square.sqrt();
        for value in row.iter_mut() {
            *value *= scale;
        }
    }
    Ok(all_there)
}

/// Replace X by L^-1 X; false, with X half done, where L is not to be trusted or X X^T is farther
/// from the identity than `limit`.
fn cholesky_round(rows: &mut [f64], width: usize, tier: Tier, limit: Option<f64>) -> bool {
    let n = rows.len() / width;
    let mut gram = gram(tier, rows, width);
    let far = |limit: f64| {
        let wanted = |at: usize| f64::from(u8::from(at.is_multiple_of(n + 1)));
        gram.iter().enumerate().any(|(at, value)| (value - wanted(at)).abs() > limit)
    };
    if limit.is_some_and(far) || !factor(&mut gram, n) {
        return false;
    }
    let mut factors = Vec::with_capacity(n);
    for (index, lower) in gram.chunks_exact(n).enumerate() {
        let (before, rest) = rows.split_at_mut(index * width);
        let row = &mut rest[..width];
        factors.clear();
        factors.extend(lower[..index].iter().map(|value| -value));
        add_scaled_rows(tier, before, &factors, row);
        for value in row.iter_mut() {
            *value /= lower[index];
        }
    }
    true
}

/// Cholesky factor in the lower triangle; false when a pivot is too small.
fn factor(gram: &mut [f64], n: usize) -> bool {
    for column in 0..n {
        for row in column..n {
            let mut value = gram[row * n + column];
            for at in 0..column {
                value -= gram[row * n + at] * gram[column * n + at];
            }
            if row == column {
                if value.is_nan() || value <= PIVOT {
                    return false;
                }
                gram[row * n + column] = value.sqrt();
            } else {
                gram[row * n + column] = value / gram[column * n + column];
            }
        }
    }
    true
}

/// Basis from a Householder QR of X^T with column pivoting, cut at the tolerance.
fn householder(
    rows: &mut [f64],
    width: usize,
    tolerance: f64,
    control: &Control,
) -> Result<Vec<f64>> {
    let tier = control.tier;
    let n = rows.len() / width;
    let mut scales = Vec::new();
    for step in 0..n.min(width) {
        check_cancel(control.cancel)?;
        let norm = |row: usize| {
            let rest = &rows[row * width + step..(row + 1) * width];
            dot(tier, rest, rest).sqrt()
        };
        let norms: Vec<f64> = (step..n).map(norm).collect();
        let (largest, size) = norms
            .iter()
            .enumerate()
            .fold((0, 0.0), |best, (at, size)| if *size > best.1 { (at, *size) } else { best });
        if size <= tolerance || size == 0.0 {
            break;
        }
        let pivot = step + largest;
        if pivot != step {
            let (before, after) = rows.split_at_mut(pivot * width);
            before[step * width..(step + 1) * width].swap_with_slice(&mut after[..width]);
        }
        let (before, after) = rows.split_at_mut((step + 1) * width);
        let reflector = &mut before[step * width + step..];
        // Away from zero, so that nothing cancels; 2 / |v|^2 is the reflection's scale.
        reflector[0] += size.copysign(reflector[0]);
        let scale = 2.0 / dot(tier, reflector, reflector);
        for row in after.chunks_exact_mut(width) {
            reflect(tier, reflector, scale, &mut row[step..]);
        }
        scales.push(scale);
    }
    let mut basis = vec![0.0; scales.len() * width];
    for (index, row) in basis.chunks_exact_mut(width).enumerate() {
        check_cancel(control.cancel)?;
        row[index] = 1.0;
        for (step, scale) in scales.iter().enumerate().take(index + 1).rev() {
            let reflector = &rows[step * width + step..(step + 1) * width];
            reflect(tier, reflector, *scale, &mut row[step..]);
        }
    }
    Ok(basis)
}

/// x <- x - scale <v, x> v.
fn reflect(tier: Tier, v: &[f64], scale: f64, x: &mut [f64]) {
    let factor = -scale * dot(tier, v, x);
    add_scaled_rows(tier, v, &[factor], x);
}
