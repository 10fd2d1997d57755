//! Grouped contributions: `c[n, k, g] = sum over the columns j of group g of x[n, j] w[k, j]`.
//!
//! Rows `[n, width]`, weights `[k, width]`, groups of `group` neighbouring columns (1 for neurons,
//! the head width for heads); gives the moments of c per label, `[n_labels, k, width / group]`.
//! With a scale per row, `c[n, k, g]` is multiplied by `scale[n]`: the frozen factor of a norm that
//! follows the projection.
//! O(n k width); with groups of one column and no scales the column moments are enough, O(n width).

use super::labels::Labels;
use super::moments::moments;
use super::partial::{Moments, Part, check_cells};
use super::project::{Buffers, Dots};
use crate::error::{Error, Result};
use crate::scan::{Control, Rows, ordered};

/// Which columns make a unit, and what each adds to the directions.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    /// Weight of every column for each direction, `(k, width)`.
    pub weights: &'a [f64],
    /// Number of directions.
    pub k: usize,
    /// Neighbouring columns of a unit.
    pub group: usize,
    /// Factor of each row, or 1 everywhere.
    pub scales: Option<&'a [f64]>,
}

impl Units<'_> {
    fn scale(&self, row: usize) -> f64 {
        self.scales.map_or(1.0, |scales| scales[row])
    }

    fn check_scales(&self, n_rows: usize) -> Result<()> {
        let Some(scales) = self.scales else { return Ok(()) };
        if scales.len() != n_rows {
            let found = scales.len();
            return Err(Error::usage(format!("{found} scales are given for {n_rows} rows")));
        }
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(()),
            Some(row) => {
                Err(Error::numerical(format!("the scale of row {row} is {}", scales[row])))
            }
        }
    }
}

/// Moments of the contributions of every group to every direction, per label.
///
/// The arrays of the result are `(n_labels, k, width / group)`.
pub fn grouped_contributions(
    rows: &Rows,
    labels: &[i32],
    n_labels: usize,
    units: Units,
    control: &Control,
) -> Result<Moments> {
    let dots = Dots::new(rows, units.weights, units.k, units.group, control)?;
    check_cells(n_labels, dots.per_row())?;
    units.check_scales(rows.n_rows())?;
    if units.group == 1 && units.scales.is_none() {
        return Ok(scale(&moments(rows, labels, n_labels, control)?, units.weights, rows.width()));
    }
    let labels = Labels::new(labels, n_labels, rows.n_rows())?;
    let pilot = pilot(&dots, &labels, &units)?;
    let cells = dots.per_row();
    let mut total = Moments::new(n_labels, cells);
    ordered(
        &rows.tiling(n_labels),
        control,
        || Buffers::new(rows),
        || Part::new(n_labels, cells),
        |buffers, tile, part| {
            part.clear();
            dots.each(tile, buffers, |row, dots| {
                if let Some(label) = labels.of(row) {
                    let pilot = &pilot[label * cells..(label + 1) * cells];
                    part.add(label, dots, units.scale(row), pilot);
                }
            })?;
            if part.finish() {
                return Ok(());
            }
            dots.find_non_finite(&tile.rows, |row| labels.of(row).is_some())
        },
        |part| total.merge(part),
    )?;
    rows.check_unchanged()?;
    for (mean, pilot) in total.mean.iter_mut().zip(&pilot) {
        *mean += pilot;
    }
    Ok(total)
}

/// Contributions of each label's first row, `(n_labels, cells)`; 0 where there is none.
fn pilot(dots: &Dots, labels: &Labels, units: &Units) -> Result<Vec<f64>> {
    let cells = dots.per_row();
    let mut pilot = vec![0.0; labels.n_labels() * cells];
    let mut buffers = Buffers::new(dots.rows);
    for (label, first) in labels.first_rows(1).iter().enumerate() {
        for row in first {
            dots.one(*row, &mut buffers, |values| {
                for (pilot, value) in
                    pilot[label * cells..(label + 1) * cells].iter_mut().zip(values)
                {
                    let value = value * units.scale(*row);
                    *pilot = if value.is_finite() { value } else { 0.0 };
                }
            })?;
        }
    }
    Ok(pilot)
}

/// Moments of `w x` from the moments of `x`.
fn scale(columns: &Moments, weights: &[f64], width: usize) -> Moments {
    let (n_labels, k) = (columns.count.len(), weights.len().checked_div(width).unwrap_or(0));
    let mut out = Moments::new(n_labels, k * width);
    out.count.clone_from(&columns.count);
    let pairs = (0..n_labels).flat_map(|label| (0..k * width).map(move |at| (label, at)));
    for (label, at) in pairs {
        let (to, from, weight) = (label * k * width + at, label * width + at % width, weights[at]);
        out.mean[to] = columns.mean[from] * weight;
        out.m2[to] = columns.m2[from] * weight * weight;
        let (above, below) = (columns.positive[from], columns.negative[from]);
        (out.positive[to], out.negative[to]) = match weight.partial_cmp(&0.0) {
            Some(std::cmp::Ordering::Greater) => (above, below),
            Some(std::cmp::Ordering::Less) => (below, above),
            _ => (0, 0),
        };
    }
    out
}
