//! Directions pulled back through a projection matrix, read straight from the checkpoint.
//!
//! `out[k, m] = sum_i v[k, i] W[i, m]` for W `[d, m]` (`nn.Linear`), or `sum_i v[k, i] W[m, i]` for
//! W `[m, d]` (`Conv1D`); W in bf16, f16 or f32, sums in double precision. O(k d m).
//!
//! For `[d, m]` the rows are cut into tiles; each column adds its rows in order, one rounding each,
//! and tiles are added in order.

use super::partial::check_cells;
use super::project::{Dots, dots_of_rows};
use super::simd::dots::{add_scaled_rows, widen};
use crate::error::{Error, Result};
use crate::scan::{Control, Rows, check_cancel, ordered};

/// Rows and columns of the block that is widened at a time.
const STEP: usize = 8;
const STRIP: usize = 256;

/// `directions` `(k, d)` times the matrix in `rows`; the result is `(k, m)`, row by row.
///
/// `transposed` says that the matrix is stored as `[m, d]`.
pub fn weight_product(
    rows: &Rows,
    directions: &[f64],
    k: usize,
    transposed: bool,
    control: &Control,
) -> Result<Vec<f64>> {
    let (d, m) =
        if transposed { (rows.width(), rows.n_rows()) } else { (rows.n_rows(), rows.width()) };
    check_cells(k, d.max(m))?;
    if directions.len() != k * d {
        return Err(Error::usage(format!(
            "{} values are given for {k} directions of {d}, the height of tensor {:?}",
            directions.len(),
            rows.tensor()
        )));
    }
    if transposed {
        let tall = dots_of_rows(rows, directions, k, control, |value| value)?;
        return Ok((0..k).flat_map(|index| tall.iter().skip(index).step_by(k).copied()).collect());
    }
    if let Some(at) = directions.iter().position(|value| !value.is_finite()) {
        return Err(Error::numerical(format!("direction {} holds {}", at / d, directions[at])));
    }
    columns(rows, directions, k, control)
}

fn columns(rows: &Rows, directions: &[f64], k: usize, control: &Control) -> Result<Vec<f64>> {
    let (d, m) = (rows.n_rows(), rows.width());
    let mut out = vec![0.0; k * m];
    ordered(
        &rows.tiling(1),
        control,
        || (rows.reader(), vec![0.0; STEP * STRIP]),
        || vec![0.0; k * m],
        |(reader, wide), tile, part| {
            part.fill(0.0);
            rows.scan(tile, reader, STEP, |panel, block| {
                let columns = tile.rows.start + panel.start..tile.rows.start + panel.end;
                let factors = |index: usize| &directions[index * d..][columns.clone()];
                add_block(rows, &block[panel], factors, wide, part, control)
            })?;
            if part.iter().all(|value| value.is_finite()) {
                return Ok(());
            }
            Dots::new(rows, &[], 0, 1, control)?.find_non_finite(&tile.rows, |_| true)
        },
        |part| out.iter_mut().zip(part).for_each(|(total, part)| *total += part),
    )?;
    rows.check_unchanged()?;
    Ok(out)
}

/// Add a few rows, scaled by the factors of each direction, strip by strip.
fn add_block<'a>(
    rows: &Rows,
    block: &[&[u8]],
    factors: impl Fn(usize) -> &'a [f64],
    wide: &mut [f64],
    out: &mut [f64],
    control: &Control,
) -> Result<()> {
    let tier = control.tier;
    let (m, size) = (rows.width(), rows.dtype().size());
    for begin in (0..m).step_by(STRIP) {
        check_cancel(control.cancel)?;
        let strip = STRIP.min(m - begin);
        let wide = &mut wide[..block.len() * strip];
        for (row, wide) in block.iter().zip(wide.chunks_exact_mut(strip)) {
            widen(tier, rows.dtype(), &row[begin * size..(begin + strip) * size], wide);
        }
        for (index, out) in out.chunks_exact_mut(m).enumerate() {
            add_scaled_rows(tier, wide, factors(index), &mut out[begin..begin + strip]);
        }
    }
    Ok(())
}
