//! Column moments per label: the numbers from which every neuron's contribution follows.
//!
//! For each label and column: n, mean, `M2 = sum (x - mean)^2`, number above and below zero; rows
//! `[n, width]` of bf16, f16 or f32, labels `[n]`. One pass, O(n width).
//!
//! A pilot p per label and column is subtracted: the mean of three medians of three of the label's
//! first used values, so that one outlier does no harm. `x - p` and its square are added in single
//! precision over groups of 8 rows of a label, the groups over at most 64 rows; from there on in
//! double precision, and tiles are merged in order by Chan's rule. The variance of 20 000 normal
//! columns of any length then lies within 8e-7 of the exact one (with one median as the pilot and
//! no groups: 4e-6).

use std::ops::Range;

use super::labels::Labels;
use super::simd::columns::{BLOCK, ROWS, Sums};
use crate::error::{Error, Result};
use crate::scan::rows::Reader;
use crate::scan::{Control, Rows, check_cancel, ordered, tile_rows};

/// Most values of one result array.
pub const MAX_CELLS: usize = 1 << 28;

/// Moments of every label and column; arrays are `(n_labels, width)`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Rows of each label.
    pub count: Vec<u64>,
    /// Mean, 0 where there are no rows.
    pub mean: Vec<f64>,
    /// Sum of squared deviations from the mean.
    pub m2: Vec<f64>,
    /// Rows with a value above zero.
    pub positive: Vec<u64>,
    /// Rows with a value below zero.
    pub negative: Vec<u64>,
}

impl Moments {
    /// No rows yet.
    #[must_use]
    pub fn new(n_labels: usize, width: usize) -> Self {
        let cells = n_labels * width;
        Self {
            count: vec![0; n_labels],
            mean: vec![0.0; cells],
            m2: vec![0.0; cells],
            positive: vec![0; cells],
            negative: vec![0; cells],
        }
    }

    /// Merge a tile by Chan's rule.
    pub(super) fn merge(&mut self, part: &Part) {
        let width = part.width;
        for (label, count) in part.count.iter().copied().enumerate().filter(|(_, count)| *count > 0)
        {
            let (before, after) = (self.count[label] as f64, (self.count[label] + count) as f64);
            let share = count as f64 / after;
            let weight = before * share;
            self.count[label] += count;
            let cells = label * width..(label + 1) * width;
            let ours = self.mean[cells.clone()].iter_mut().zip(&mut self.m2[cells.clone()]);
            let theirs = part.first[cells.clone()].iter().zip(&part.second[cells.clone()]);
            for ((mean, m2), (part_mean, part_m2)) in ours.zip(theirs) {
                let delta = part_mean - *mean;
                *mean += delta * share;
                *m2 += part_m2 + delta * delta * weight;
            }
            let ours =
                self.positive[cells.clone()].iter_mut().zip(&mut self.negative[cells.clone()]);
            let theirs = part.positive[cells.clone()].iter().zip(&part.negative[cells]);
            for ((positive, negative), (part_positive, part_negative)) in ours.zip(theirs) {
                *positive += u64::from(*part_positive);
                *negative += u64::from(*part_negative);
            }
        }
    }
}

/// Partial result of one tile; cells of labels without rows hold old values.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) width: usize,
    pub(super) count: Vec<u64>,
    /// Sums, then means, relative to the pilot.
    pub(super) first: Vec<f64>,
    /// Sums of squares, then M2.
    pub(super) second: Vec<f64>,
    /// Counts; a tile has less than 2^16 rows.
    pub(super) positive: Vec<u16>,
    pub(super) negative: Vec<u16>,
}

impl Part {
    pub(super) fn new(n_labels: usize, width: usize) -> Self {
        let cells = n_labels * width;
        Self {
            width,
            count: vec![0; n_labels],
            first: vec![0.0; cells],
            second: vec![0.0; cells],
            positive: vec![0; cells],
            negative: vec![0; cells],
        }
    }

    /// Forget the last tile.
    pub(super) fn clear(&mut self) {
        self.count.fill(0);
        self.first.fill(0.0);
        self.second.fill(0.0);
        self.positive.fill(0);
        self.negative.fill(0);
    }

    /// Add one row of values to a label, relative to its pilot.
    pub(super) fn add(&mut self, label: usize, values: &[f64], pilot: &[f64]) {
        self.count[label] += 1;
        let cells = label * self.width..(label + 1) * self.width;
        let first = self.first[cells.clone()].iter_mut().zip(&mut self.second[cells.clone()]);
        for ((first, second), (value, pilot)) in first.zip(values.iter().zip(pilot)) {
            let deviation = value - pilot;
            *first += deviation;
            *second += deviation * deviation;
        }
        let signs = self.positive[cells.clone()].iter_mut().zip(&mut self.negative[cells]);
        for ((positive, negative), value) in signs.zip(values) {
            *positive += u16::from(*value > 0.0);
            *negative += u16::from(*value < 0.0);
        }
    }

    /// Turn sums into means and M2; false when any of them is not finite.
    pub(super) fn finish(&mut self) -> bool {
        let mut finite = true;
        for (label, count) in self.count.iter().enumerate().filter(|(_, count)| **count > 0) {
            let inverse = 1.0 / *count as f64;
            let cells = label * self.width..(label + 1) * self.width;
            for (first, second) in self.first[cells.clone()].iter_mut().zip(&mut self.second[cells])
            {
                let mean = *first * inverse;
                let m2 = (*second - *first * mean).max(0.0);
                finite &= (mean + *second).is_finite();
                (*first, *second) = (mean, m2);
            }
        }
        finite
    }
}

/// Fail when `n_labels * width` is more than a result may hold.
pub(super) fn check_cells(n_labels: usize, width: usize) -> Result<()> {
    match n_labels.checked_mul(width) {
        Some(cells) if cells <= MAX_CELLS && n_labels <= MAX_CELLS => Ok(()),
        _ => Err(Error::usage(format!(
            "{n_labels} labels of {width} values are too many, the limit is {MAX_CELLS} in all"
        ))),
    }
}

/// Moments of the rows of each label; runs on the rayon pool it is called from.
pub fn moments(rows: &Rows, labels: &[i32], n_labels: usize, control: &Control) -> Result<Moments> {
    check_cells(n_labels, rows.width())?;
    let labels = Labels::new(labels, n_labels, rows.n_rows())?;
    let pilot = pilot(rows, &labels)?;
    let scan =
        Scan { rows, labels, pilot: &pilot, tile: tile_rows(rows.row_bytes(), n_labels), control };
    let mut total = Moments::new(n_labels, rows.width());
    ordered(
        rows.n_rows().div_ceil(scan.tile),
        control,
        || (Reader::default(), Sums::new(rows.width())),
        || Part::new(n_labels, rows.width()),
        |(reader, sums), tile, part| scan.tile(tile, reader, sums, part),
        |part| total.merge(part),
    )?;
    rows.check_unchanged()?;
    for (mean, pilot) in total.mean.iter_mut().zip(&pilot) {
        *mean += f64::from(*pilot);
    }
    Ok(total)
}

/// Mean of the medians of three of the first nine used values per label and column; the median of
/// three or the first value where there are fewer. Shape `(n_labels, width)`.
fn pilot(rows: &Rows, labels: &Labels) -> Result<Vec<f32>> {
    let width = rows.width();
    let mut pilot = vec![0.0; labels.n_labels() * width];
    let mut reader = Reader::default();
    let mut values = vec![0.0; 9 * width];
    for (label, first) in labels.first_rows(9).iter().enumerate() {
        for (row, values) in first.iter().zip(values.chunks_exact_mut(width.max(1))) {
            rows.dtype().decode(rows.read(*row..row + 1, &mut reader)?[0], values);
            // The scan finds and names what is not finite; the pilot only has to be a number.
            values.iter_mut().filter(|value| !value.is_finite()).for_each(|value| *value = 0.0);
        }
        let pilot = &mut pilot[label * width..(label + 1) * width];
        let at = |row: usize, column: usize| values[row * width + column];
        let median =
            |row, column| middle(at(row, column), at(row + 1, column), at(row + 2, column));
        for (column, pilot) in pilot.iter_mut().enumerate() {
            *pilot = match first.len() {
                0 => 0.0,
                1 | 2 => at(0, column),
                3..9 => median(0, column),
                _ => {
                    let sum: f64 =
                        [0, 3, 6].iter().map(|row| f64::from(median(*row, column))).sum();
                    (sum / 3.0) as f32
                }
            };
        }
    }
    Ok(pilot)
}

fn middle(a: f32, b: f32, c: f32) -> f32 {
    a.min(b).max(a.max(b).min(c))
}

struct Scan<'a> {
    rows: &'a Rows,
    labels: Labels<'a>,
    pilot: &'a [f32],
    tile: usize,
    control: &'a Control<'a>,
}

impl Scan<'_> {
    fn tile(
        &self,
        tile: usize,
        reader: &mut Reader,
        sums: &mut Sums,
        part: &mut Part,
    ) -> Result<()> {
        let range = tile * self.tile..((tile + 1) * self.tile).min(self.rows.n_rows());
        self.rows.tile(&range, reader, |reader| self.sum(&range, reader, sums, part))
    }

    fn sum(
        &self,
        range: &Range<usize>,
        reader: &mut Reader,
        sums: &mut Sums,
        part: &mut Part,
    ) -> Result<()> {
        part.count.fill(0);
        let rows = self.rows.read(range.clone(), reader)?;
        let sorted = self.labels.sorted(range);
        let by_label: Vec<(usize, Vec<&[u8]>)> = sorted
            .into_iter()
            .map(|(label, list)| (label, list.iter().map(|row| rows[*row]).collect()))
            .collect();
        for (index, (label, list)) in by_label.iter().enumerate() {
            let next = by_label.get(index + 1).map_or(&[][..], |(_, list)| list);
            self.label(*label, list, next, sums, part)?;
        }
        if part.finish() { Ok(()) } else { self.exact(range.clone(), reader, part) }
    }

    /// Add the rows of one label in groups; `next` are the rows that come after them.
    fn label(
        &self,
        label: usize,
        list: &[&[u8]],
        next: &[&[u8]],
        sums: &mut Sums,
        part: &mut Part,
    ) -> Result<()> {
        let cells = label * part.width..(label + 1) * part.width;
        let (first, second) = (&mut part.first[cells.clone()], &mut part.second[cells.clone()]);
        let pilot = &self.pilot[cells.clone()];
        let groups = list.chunks(ROWS);
        let ahead = groups.clone().skip(1).chain([&next[..next.len().min(ROWS)]]);
        let mut flushed = false;
        for (now, ahead) in groups.zip(ahead) {
            check_cancel(self.control.cancel)?;
            sums.add(self.control.tier, self.rows.dtype(), now, ahead, pilot);
            if sums.filled() == BLOCK {
                sums.flush(self.control.tier, first, second, !flushed);
                flushed = true;
            }
        }
        if sums.filled() > 0 {
            sums.flush(self.control.tier, first, second, !flushed);
        }
        sums.take_counts(&mut part.positive[cells.clone()], &mut part.negative[cells]);
        part.count[label] = list.len() as u64;
        Ok(())
    }

    /// Name the non-finite value of a tile, or repeat the tile in double precision where squares
    /// of finite values overflowed in single precision.
    fn exact(&self, range: Range<usize>, reader: &mut Reader, part: &mut Part) -> Result<()> {
        let width = self.rows.width();
        let mut values = vec![0.0f32; width];
        part.first.fill(0.0);
        part.second.fill(0.0);
        for row in range {
            let Some(label) = self.labels.of(row) else { continue };
            check_cancel(self.control.cancel)?;
            self.rows.dtype().decode(self.rows.read(row..row + 1, reader)?[0], &mut values);
            let cells = label * width..(label + 1) * width;
            let (first, second) = (&mut part.first[cells.clone()], &mut part.second[cells.clone()]);
            let pilot = &self.pilot[cells];
            for (column, value) in values.iter().enumerate() {
                if !value.is_finite() {
                    return Err(self.rows.non_finite(row, column, *value));
                }
                let deviation = f64::from(*value) - f64::from(pilot[column]);
                first[column] += deviation;
                second[column] += deviation * deviation;
            }
        }
        part.finish();
        Ok(())
    }
}

/// Cut a range into pieces of `step` rows.
pub(super) fn panels(range: &Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.clone().step_by(step).map(move |begin| begin..(begin + step).min(end))
}
