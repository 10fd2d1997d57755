//! Cross-moments of two tensors whose rows belong together: what linear alignment needs.
//!
//! For the rows of each label: n, the means of x and y, and the centred sums `X^T X`, `Y^T Y` and
//! `X^T Y`; rows `[n, dx]` and `[n, dy]`, one pass, O(n (dx + dy)^2 / 2), memory
//! O(labels (dx + dy)^2), whatever n.
//!
//! A pilot (mean of the first rows) is subtracted, everything is summed in double precision, and
//! the means are taken out at the end. Tiles come in order and all threads share the cells of the
//! result, so every sum has one order: by row within a tile, then by tile.

use std::ops::Range;

use rayon::prelude::*;

use super::labels::Labels;
use super::partial::check_cells;
use super::simd::dots::widen;
use super::simd::products::{PANEL, add_outer};
use crate::error::{Error, Result};
use crate::scan::{Control, Reader, Rows, Tile, check_cancel};

/// Rows of a tile: a panel of them stays in the first cache level.
const TILE: usize = 256;
/// Panels whose sums one thread takes at a time; they stay in the second cache level.
const GROUP: usize = 8;
/// Rows whose mean is the pilot.
const PILOT: usize = 32;

type Block = [[f64; PANEL]; PANEL];

/// Centred moments per label; matrices are row by row, one label after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossMoments {
    /// Rows of each label.
    pub count: Vec<u64>,
    /// Means `(n_labels, dx)` and `(n_labels, dy)`, 0 where there are no rows.
    pub mean_x: Vec<f64>,
    /// See `mean_x`.
    pub mean_y: Vec<f64>,
    /// `(n_labels, dx, dx)`.
    pub xx: Vec<f64>,
    /// `(n_labels, dy, dy)`.
    pub yy: Vec<f64>,
    /// `(n_labels, dx, dy)`.
    pub xy: Vec<f64>,
}

/// Moments of paired rows of each label; runs on the rayon pool it is called from.
pub fn cross_moments(
    x: &Rows,
    y: &Rows,
    labels: &[i32],
    n_labels: usize,
    control: &Control,
) -> Result<CrossMoments> {
    if x.n_rows() != y.n_rows() {
        return Err(Error::usage(format!(
            "tensor {:?} has {} rows and tensor {:?} has {}, they must be pairs",
            x.tensor(),
            x.n_rows(),
            y.tensor(),
            y.n_rows()
        )));
    }
    let width = x.width() + y.width();
    check_cells(n_labels.saturating_mul(width), width)?;
    let labels = Labels::new(labels, n_labels, x.n_rows())?;
    let sides = [Side::new(x, &labels, 0)?, Side::new(y, &labels, x.width().div_ceil(PANEL))?];
    let mut sums: Vec<Sums> = (0..n_labels).map(|_| Sums::new(&sides)).collect();
    let tilings = [x.tiling_of(TILE), y.tiling_of(TILE)];
    let mut readers = [x.reader(), y.reader()];
    let mut packed = Packed::new(n_labels, sums.first().map_or(0, |sums| sums.n_panels));
    for index in 0..tilings[0].n_tiles() {
        check_cancel(control.cancel)?;
        packed.begin(&tilings[0].tile(index).rows, &labels);
        for ((side, tiling), reader) in sides.iter().zip(&tilings).zip(&mut readers) {
            side.pack(&tiling.tile(index), reader, &labels, control, &mut packed)?;
        }
        for (label, sums) in sums.iter_mut().enumerate() {
            sums.add(&packed, label, control)?;
        }
    }
    x.check_unchanged()?;
    y.check_unchanged()?;
    finish(&sides, &sums, control)
}

/// One of the two tensors.
struct Side<'a> {
    rows: &'a Rows,
    pilot: Vec<f64>,
    /// Its first panel.
    first: usize,
}

impl<'a> Side<'a> {
    fn new(rows: &'a Rows, labels: &Labels, first: usize) -> Result<Self> {
        let used: Vec<usize> =
            (0..rows.n_rows()).filter(|row| labels.of(*row).is_some()).take(PILOT).collect();
        let (mut pilot, mut values) = (vec![0.0; rows.width()], vec![0.0; rows.width()]);
        let mut reader = rows.reader();
        for row in &used {
            rows.dtype().decode(rows.read(&(*row..row + 1), &mut reader)?[0], &mut values);
            for (pilot, value) in pilot.iter_mut().zip(&values).filter(|(_, v)| v.is_finite()) {
                *pilot += f64::from(*value) / used.len() as f64;
            }
        }
        Ok(Self { rows, pilot, first })
    }

    fn panels(&self) -> Range<usize> {
        self.first..self.first + self.rows.width().div_ceil(PANEL)
    }

    /// Lay the used rows of a tile into their label's panels, the pilot taken off.
    fn pack(
        &self,
        tile: &Tile,
        reader: &mut Reader,
        labels: &Labels,
        control: &Control,
        packed: &mut Packed,
    ) -> Result<()> {
        let rows = self.rows;
        let mut wide = vec![0.0; rows.width()];
        rows.scan(tile, reader, rows.panel_rows(), |panel, bytes| {
            check_cancel(control.cancel)?;
            for row in panel {
                let Some(label) = labels.of(tile.rows.start + row) else { continue };
                widen(control.tier, rows.dtype(), bytes[row], &mut wide);
                if wide.iter().any(|value| !value.is_finite()) {
                    return self.blame(tile.rows.start + row, &wide);
                }
                let slot = packed.slot[row];
                let pilot = self.pilot.chunks(PANEL).zip(wide.chunks(PANEL));
                for (panel, (pilot, wide)) in self.panels().zip(pilot) {
                    let out = packed.row(label, panel, slot);
                    for (out, (wide, pilot)) in out.iter_mut().zip(wide.iter().zip(pilot)) {
                        *out = wide - pilot;
                    }
                }
            }
            Ok(())
        })
    }

    /// The error for a row that holds a non-finite value.
    fn blame(&self, row: usize, values: &[f64]) -> Result<()> {
        self.rows.check_now(&(row..row + 1))?;
        let column = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
        let value = values.get(column).map_or(f32::NAN, |value| *value as f32);
        Err(self.rows.non_finite(row, column, value))
    }
}

/// The rows of one tile, by label and panel; what a panel has beyond its tensor's width is zero.
struct Packed {
    n_panels: usize,
    /// Rows of each label in the tile.
    n_rows: Vec<usize>,
    /// For each row of the tile its place among those of its label.
    slot: Vec<usize>,
    /// For each label `(n_panels, n_rows)` rows of a panel.
    values: Vec<Vec<[f64; PANEL]>>,
}

impl Packed {
    fn new(n_labels: usize, n_panels: usize) -> Self {
        let values = vec![Vec::new(); n_labels];
        Self { n_panels, n_rows: vec![0; n_labels], slot: Vec::new(), values }
    }

    fn begin(&mut self, rows: &Range<usize>, labels: &Labels) {
        self.n_rows.fill(0);
        self.slot.clear();
        for row in rows.clone() {
            let label = labels.of(row);
            self.slot.push(label.map_or(0, |label| self.n_rows[label]));
            if let Some(label) = label {
                self.n_rows[label] += 1;
            }
        }
        for (values, n_rows) in self.values.iter_mut().zip(&self.n_rows) {
            // A changed number of rows moves the panels, and with them the columns of padding.
            if values.len() != n_rows * self.n_panels {
                values.clear();
                values.resize(n_rows * self.n_panels, [0.0; PANEL]);
            }
        }
    }

    fn row(&mut self, label: usize, panel: usize, slot: usize) -> &mut [f64; PANEL] {
        &mut self.values[label][panel * self.n_rows[label] + slot]
    }

    fn panel(&self, label: usize, panel: usize) -> &[[f64; PANEL]] {
        let n_rows = self.n_rows[label];
        &self.values[label][panel * n_rows..(panel + 1) * n_rows]
    }
}

/// Sums of one label relative to the pilot.
struct Sums {
    n_panels: usize,
    count: u64,
    /// Sums of each panel's columns.
    first: Vec<[f64; PANEL]>,
    /// For each group of panels its blocks with every panel from its first one on: block
    /// `(panel - first) * GROUP + i` is that of the group's panel i with `panel`.
    second: Vec<Vec<Block>>,
}

impl Sums {
    fn new(sides: &[Side; 2]) -> Self {
        let n_panels = sides[1].panels().end;
        let blocks = |first| vec![[[0.0; PANEL]; PANEL]; (n_panels - first) * GROUP];
        Self {
            n_panels,
            count: 0,
            first: vec![[0.0; PANEL]; n_panels],
            second: (0..n_panels).step_by(GROUP).map(blocks).collect(),
        }
    }

    /// Add a tile's rows of one label, each thread to its own groups of panels.
    fn add(&mut self, packed: &Packed, label: usize, control: &Control) -> Result<()> {
        if packed.n_rows[label] == 0 {
            return Ok(());
        }
        self.count += packed.n_rows[label] as u64;
        self.first.par_iter_mut().enumerate().for_each(|(panel, first)| {
            let mut sums = [0.0; PANEL];
            for row in packed.panel(label, panel) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            first.iter_mut().zip(sums).for_each(|(first, sum)| *first += sum);
        });
        let n_panels = self.n_panels;
        self.second.par_iter_mut().enumerate().try_for_each(|(group, blocks)| {
            let group = group * GROUP..((group + 1) * GROUP).min(n_panels);
            for (panel, blocks) in (group.start..n_panels).zip(blocks.chunks_exact_mut(GROUP)) {
                check_cancel(control.cancel)?;
                let b = packed.panel(label, panel);
                for (i, block) in group.clone().zip(blocks) {
                    add_outer(control.tier, packed.panel(label, i), b, block);
                }
            }
            Ok(())
        })
    }

    /// Centred sums of the columns `left` with the columns `right`, given as places in the panels;
    /// no column of `left` comes from a later panel than those of `right`, or they are the same.
    fn matrix(
        &self,
        left: &[usize],
        right: &[usize],
        out: &mut [f64],
        control: &Control,
    ) -> Result<()> {
        if self.count == 0 || right.is_empty() {
            return Ok(());
        }
        let n = self.count as f64;
        let first = |at: usize| self.first[at / PANEL][at % PANEL];
        out.par_chunks_exact_mut(right.len()).zip(left).try_for_each(|(out, i)| {
            check_cancel(control.cancel)?;
            for (out, j) in out.iter_mut().zip(right) {
                let (low, high) = if i / PANEL <= j / PANEL { (*i, *j) } else { (*j, *i) };
                // Within a panel both orders are kept; take one, so that the matrix is symmetric.
                let (low, high) = (low.min(high), low.max(high));
                let group = low / PANEL / GROUP;
                let block = (high / PANEL - group * GROUP) * GROUP + low / PANEL % GROUP;
                let sum = self.second[group][block][low % PANEL][high % PANEL];
                *out = sum - first(low) * first(high) / n;
            }
            Ok(())
        })
    }
}

fn finish(sides: &[Side; 2], sums: &[Sums], control: &Control) -> Result<CrossMoments> {
    let [x, y] = sides;
    let places = |side: &Side| -> Vec<usize> {
        (side.first * PANEL..side.first * PANEL + side.rows.width()).collect()
    };
    let (left, right) = (places(x), places(y));
    let cells = |a: &[usize], b: &[usize]| {
        let size = a.len() * b.len();
        let mut out = vec![0.0; sums.len() * size];
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(size.max(1))) {
            sums.matrix(a, b, out, control)?;
        }
        Ok(out)
    };
    let mean = |side: &Side, places: &[usize]| {
        let of_label = |sums: &Sums| {
            let n = sums.count as f64;
            let mean = places.iter().zip(&side.pilot).map(|(at, pilot)| {
                let sum = sums.first[at / PANEL][at % PANEL];
                if sums.count == 0 { 0.0 } else { pilot + sum / n }
            });
            mean.collect::<Vec<_>>()
        };
        sums.iter().flat_map(of_label).collect()
    };
    Ok(CrossMoments {
        count: sums.iter().map(|sums| sums.count).collect(),
        mean_x: mean(x, &left),
        mean_y: mean(y, &right),
        xx: cells(&left, &left)?,
        yy: cells(&right, &right)?,
        xy: cells(&left, &right)?,
    })
}
