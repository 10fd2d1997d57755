//! Dissimilarities of the rows of `[n, d]`: a symmetric `[n, n]` with zeros on its diagonal.
//!
//! Euclidean: |x - y|. Cosine: 1 - <u, v> = |u - v|^2 / 2 of the unit vectors, which loses nothing
//! when they are close; what rounding alone can put between two unit vectors counts as nothing.
//! Correlation: cosine after each row's mean is taken off. O(n^2 d). A sum has eight lanes, one
//! rounding for each product and sum, added as ((0+4)+(2+6))+((1+5)+(3+7)), so that threads and
//! instructions leave the same bits.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::kernels::simd::distances::squared_distance;
use crate::scan::{Control, check_cancel};

/// How two rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// 1 - cosine.
    Cosine,
    /// 1 - Pearson's correlation of the two rows.
    Correlation,
    /// Euclidean distance.
    Euclidean,
}

impl Metric {
    /// The metric of a name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "correlation" => Ok(Self::Correlation),
            "euclidean" => Ok(Self::Euclidean),
            _ => Err(Error::usage(format!("metric is {name:?}"))
                .hint("known: cosine, correlation, euclidean")),
        }
    }
}

/// Dissimilarities `[n, n]` of `vectors` `[n, d]`.
pub fn dissimilarity(
    vectors: &[f64],
    width: usize,
    metric: Metric,
    control: &Control,
) -> Result<Vec<f64>> {
    if width == 0 {
        return Err(Error::usage("the vectors have no columns"));
    }
    for (row, values) in vectors.chunks_exact(width).enumerate() {
        check_cancel(control.cancel)?;
        if let Some(column) = values.iter().position(|value| !value.is_finite()) {
            let value = values[column];
            return Err(Error::numerical(format!("row {row} holds {value} in column {column}"))
                .hint("leave the row out, or capture it again in float32"));
        }
    }
    let n = vectors.len() / width;
    let Prepared { rows, unscale, rounding } = prepare(vectors, width, metric, control)?;
    let row = |at: usize| &rows[at * width..][..width];
    let same = |square: f64, first: usize, second: usize| {
        square.sqrt() <= rounding[first] + rounding[second]
    };
    let mut out = vec![0.0; n * n];
    out.par_chunks_mut(n.max(1)).enumerate().try_for_each(|(first, cells)| {
        for second in first + 1..n {
            check_cancel(control.cancel)?;
            let square = squared_distance(control.tier, row(first), row(second));
            cells[second] = match metric {
                Metric::Euclidean => square.sqrt() * unscale,
                Metric::Cosine | Metric::Correlation if same(square, first, second) => 0.0,
                Metric::Cosine | Metric::Correlation => square / 2.0,
            };
        }
        Ok(())
    })?;
    for first in 0..n {
        check_cancel(control.cancel)?;
        for second in first + 1..n {
            let value = out[first * n + second];
            if !value.is_finite() {
                return Err(Error::numerical(format!(
                    "rows {first} and {second} are further apart than a number can tell"
                ))
                .hint("divide the vectors by their largest value"));
            }
            out[second * n + first] = value;
        }
    }
    Ok(out)
}

/// Rows ready to be compared.
struct Prepared {
    rows: Vec<f64>,
    /// Undoes the common scale of the rows.
    unscale: f64,
    /// How far rounding may have moved each unit vector.
    rounding: Vec<f64>,
}

/// Rounding of a unit vector of `width` numbers that came from a row of this length.
///
/// With e = 2^-53, the row's own numbers are off by e each, a division adds e; taking off the mean
/// is off by e `largest` in each place, and by as much for each of the `width` terms of the mean;
/// the length is off by at most `width` e / 2 + e, which scales the vector.
fn rounding(width: usize, largest: f64, norm: f64, centred: bool) -> f64 {
    let (e, width) = (f64::EPSILON / 2.0, width as f64);
    let of_mean = if centred { (width + 2.0) * width.sqrt() * largest / norm } else { 0.0 };
    e * (4.0 + width / 2.0 + of_mean)
}

fn prepare(vectors: &[f64], width: usize, metric: Metric, control: &Control) -> Result<Prepared> {
    let mut rows = Vec::with_capacity(vectors.len());
    let mut off = Vec::new();
    for row in vectors.chunks_exact(width) {
        check_cancel(control.cancel)?;
        rows.extend_from_slice(row);
    }
    if metric == Metric::Euclidean {
        let factor = power_of_two(&rows);
        change(&mut rows, |value| value * factor);
        return Ok(Prepared { rows, unscale: factor.recip(), rounding: off });
    }
    for (at, row) in rows.chunks_exact_mut(width).enumerate() {
        check_cancel(control.cancel)?;
        let factor = power_of_two(row);
        change(row, |value| value * factor);
        let largest = row.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        if metric == Metric::Correlation {
            let mean = row.iter().sum::<f64>() / width as f64;
            change(row, |value| value - mean);
        }
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        if norm <= 1e-14 * largest || norm == 0.0 {
            let (kind, name) = match metric {
                Metric::Cosine => ("zero", "cosine"),
                _ => ("constant", "correlation"),
            };
            return Err(Error::numerical(format!(
                "row {at} is {kind}, its {name} dissimilarities do not exist"
            ))
            .hint("leave the row out, or take the euclidean metric"));
        }
        change(row, |value| value / norm);
        off.push(rounding(width, largest, norm, metric == Metric::Correlation));
    }
    Ok(Prepared { rows, unscale: 1.0, rounding: off })
}

fn change(values: &mut [f64], to: impl Fn(f64) -> f64) {
    for value in values {
        *value = to(*value);
    }
}

/// A power of two that brings the largest value near 1, so that no square overflows.
fn power_of_two(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    let exponent = (largest.to_bits() >> 52) & 0x7ff;
    f64::from_bits(2046u64.saturating_sub(exponent).clamp(1, 2045) << 52)
}
