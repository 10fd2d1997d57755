//! Overlap of every pair of subspaces: `|U_i U_j^T|_F^2 / min(k_i, k_j)`, the mean squared cosine of
//! the principal angles, for orthonormal bases `U_i` `[k_i, d]` of the row spans of m sets.
//!
//! The bases are those of [`super::basis`]. Sets are gathered into groups of about 120 rows, and
//! each pair of groups is one block of the upper triangle of the Gram matrix of all bases,
//! `O(d (sum k_i)^2)` in all. Its entries are summed either in double precision, or in single
//! precision over 128 columns at a time and in double precision from there on. A basis rounded to
//! single precision and such a sum each err by less than 1e-7 for each entry, at random, so that the
//! overlap errs by less than 1e-6. Every entry has a fixed order of its own, which neither threads
//! nor the instruction set change.

use std::ops::Range;

use rayon::prelude::*;

use super::basis::{Vectors, orthonormal_basis};
use super::partial::check_cells;
use super::simd::Tier;
use super::simd::dots::Packed;
use super::simd::panels::{FourRows, LANES, ROWS, panel_sums};
use crate::error::{Error, Result};
use crate::scan::{Control, Tiling, check_cancel, ordered};

/// Rows that a group gathers, a multiple of three panels: the sums of two groups and their columns
/// of one block stay in the second cache level.
const GROUP: usize = 120;
/// Columns that are summed in single precision: four panels of them stay in the first cache level.
const COLUMNS: usize = 128;

/// Overlaps and what they rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlaps {
    /// Overlap of each pair, `(m, m)`, symmetric, at most 1.
    pub overlap: Vec<f64>,
    /// Rank of each set.
    pub ranks: Vec<usize>,
    /// The bases, `(sum of ranks, d)`, where they were asked for.
    pub bases: Vec<f64>,
}

/// What to compute beside the ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Sum in double precision throughout.
    pub double: bool,
    /// Give the bases.
    pub bases: bool,
}

/// Overlaps of all pairs of `sets`, each `(n, width)` with its own rank tolerance.
///
/// A set that spans nothing is an error.
pub fn overlaps(
    sets: &[Vectors],
    tolerances: &[f64],
    width: usize,
    wanted: Wanted,
    control: &Control,
) -> Result<Overlaps> {
    check_cells(sets.len(), sets.len())?;
    if sets.len() != tolerances.len() {
        return Err(Error::usage(format!(
            "{} tolerances are given for {} sets",
            tolerances.len(),
            sets.len()
        )));
    }
    let groups = gather(sets, tolerances, width, wanted, control)?;
    let mut found = Overlaps {
        overlap: vec![0.0; sets.len() * sets.len()],
        ranks: groups.iter().flat_map(Group::ranks).collect(),
        bases: Vec::new(),
    };
    let pairs: Vec<(usize, usize)> =
        (0..groups.len()).flat_map(|g| (g..groups.len()).map(move |h| (g, h))).collect();
    let m = sets.len();
    ordered(
        &Tiling::new(pairs.len(), 1),
        control,
        Vec::new,
        Vec::new,
        |gram, tile, part: &mut Vec<(usize, usize, f64)>| {
            let (g, h) = pairs[tile.index];
            fill(gram, &groups[g], &groups[h], g == h, control)?;
            part.clear();
            add_pairs(gram, &groups[g], &groups[h], part);
            Ok(())
        },
        |part| {
            for (i, j, overlap) in part {
                found.overlap[i * m + j] = *overlap;
                found.overlap[j * m + i] = *overlap;
            }
        },
    )?;
    if wanted.bases {
        found.bases = groups.into_iter().flat_map(|group| group.wide).collect();
    }
    Ok(found)
}

/// Bases of neighbouring sets, one below the other.
#[derive(Clone, Debug, Default)]
struct Group {
    first: usize,
    /// First row of each set, then the number of rows.
    starts: Vec<usize>,
    width: usize,
    /// Rows in double precision, where they are used.
    wide: Vec<f64>,
    /// Blocks of columns; in each, one panel of eight rows after the other.
    panels: Vec<[f32; LANES]>,
    n_panels: usize,
}

/// Cut the sets into groups and compute their bases.
fn gather(
    sets: &[Vectors],
    tolerances: &[f64],
    width: usize,
    wanted: Wanted,
    control: &Control,
) -> Result<Vec<Group>> {
    let rows = |set: &Vectors| set.len().checked_div(width).unwrap_or(0).min(width);
    let mut cuts = vec![0];
    let mut gathered = 0;
    for (index, set) in sets.iter().enumerate() {
        if gathered > 0 && gathered + rows(set) > GROUP {
            cuts.push(index);
            gathered = 0;
        }
        gathered += rows(set);
    }
    cuts.push(sets.len());
    cuts.dedup();
    let ranges: Vec<Range<usize>> = cuts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    let found: Vec<Result<Group>> = ranges
        .into_par_iter()
        .map(|range| {
            let n_rows = sets[range.clone()].iter().map(rows).sum();
            let mut group = Group::new(range.start, n_rows, width, !wanted.double);
            let mut basis = Vec::new();
            for index in range {
                check_cancel(control.cancel)?;
                let name = format!("set {index}");
                let (set, tolerance) = (sets[index], tolerances[index]);
                orthonormal_basis(set, width, tolerance, &name, &mut basis, control)?;
                if basis.is_empty() {
                    return Err(spans_nothing(index, set.len() / width));
                }
                group.push(&basis, wanted);
            }
            Ok(group)
        })
        .collect();
    found.into_iter().collect()
}

fn spans_nothing(index: usize, n: usize) -> Error {
    Error::numerical(format!("set {index} has {n} vectors and spans nothing"))
        .hint("give at least one vector that is not zero")
}

impl Group {
    fn new(first: usize, n_rows: usize, width: usize, single: bool) -> Self {
        let n_panels = if single { n_rows.div_ceil(LANES) } else { 0 };
        let panels = vec![[0.0; LANES]; n_panels * width];
        Self { first, starts: vec![0], width, wide: Vec::new(), panels, n_panels }
    }

    fn rows(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn ranks(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0])
    }

    fn push(&mut self, basis: &[f64], wanted: Wanted) {
        let first = self.rows();
        for (offset, row) in basis.chunks_exact(self.width).enumerate() {
            if !wanted.double {
                let (panel, lane) = ((first + offset) / LANES, (first + offset) % LANES);
                for (block, values) in row.chunks(COLUMNS).enumerate() {
                    let begin = block * COLUMNS * self.n_panels + panel * values.len();
                    let slots = &mut self.panels[begin..begin + values.len()];
                    for (slot, value) in slots.iter_mut().zip(values) {
                        slot[lane] = *value as f32;
                    }
                }
            }
        }
        if wanted.double || wanted.bases {
            self.wide.extend_from_slice(basis);
        }
        self.starts.push(first + basis.len() / self.width);
    }

    /// Columns of a block of one panel.
    fn panel(&self, block: &Range<usize>, panel: usize) -> &[[f32; LANES]] {
        &self.panels[block.start * self.n_panels + panel * block.len()..][..block.len()]
    }

    /// Row number of the set at `index` within the group.
    fn rows_of(&self, index: usize) -> Range<usize> {
        self.starts[index]..self.starts[index + 1]
    }
}

/// Products of all rows of `g` with all rows of `h`; those below the diagonal may be left out.
#[derive(Default)]
struct Gram {
    values: Vec<f64>,
    /// Columns of a row, at least the rows of `h`.
    stride: usize,
    symmetric: bool,
}

impl Gram {
    fn at(&self, row: usize, column: usize) -> f64 {
        let (row, column) =
            if self.symmetric && row > column { (column, row) } else { (row, column) };
        self.values[row * self.stride + column]
    }
}

fn fill(
    gram: &mut Vec<Gram>,
    g: &Group,
    h: &Group,
    symmetric: bool,
    control: &Control,
) -> Result<()> {
    if gram.is_empty() {
        gram.push(Gram::default());
    }
    let gram = &mut gram[0];
    gram.symmetric = symmetric;
    if h.n_panels == 0 {
        gram.stride = h.rows();
        gram.values.resize(g.rows() * gram.stride, 0.0);
        let packed = Packed::new(&h.wide, h.width, h.width);
        let step = LANES * ROWS;
        let outs = gram.values.chunks_mut(step * gram.stride);
        for (rows, out) in g.wide.chunks(step * g.width).zip(outs) {
            check_cancel(control.cancel)?;
            packed.dots(control.tier, rows, out);
        }
        return Ok(());
    }
    gram.stride = h.n_panels * LANES;
    gram.values.clear();
    gram.values.resize(g.n_panels * LANES * gram.stride, 0.0);
    for begin in (0..g.width).step_by(COLUMNS) {
        let block = begin..(begin + COLUMNS).min(g.width);
        for first in (0..h.n_panels).step_by(3) {
            check_cancel(control.cancel)?;
            let panel = |next: usize| h.panel(&block, first + next);
            match h.n_panels - first {
                1 => gram.add(control.tier, g, &block, [panel(0)], first),
                2 => gram.add(control.tier, g, &block, [panel(0), panel(1)], first),
                _ => gram.add(control.tier, g, &block, [panel(0), panel(1), panel(2)], first),
            }
        }
    }
    Ok(())
}

impl Gram {
    /// Add the products of one block of columns of all rows of `g` with `C` panels, from `first` on.
    fn add<const C: usize>(
        &mut self,
        tier: Tier,
        g: &Group,
        block: &Range<usize>,
        panels: [&[[f32; LANES]]; C],
        first: usize,
    ) {
        let per_panel = LANES / ROWS;
        for quad in 0..g.n_panels * per_panel {
            if self.symmetric && quad * ROWS >= (first + C) * LANES {
                break;
            }
            let values =
                &g.panel(block, quad / per_panel).as_flattened()[quad % per_panel * ROWS..];
            let sums = panel_sums(tier, FourRows { values, row: 1, step: LANES }, panels);
            for (row, sums) in sums.iter().enumerate() {
                let begin = (quad * ROWS + row) * self.stride + first * LANES;
                let out = &mut self.values[begin..begin + C * LANES];
                for (total, sum) in out.iter_mut().zip(sums.as_flattened()) {
                    *total += f64::from(*sum);
                }
            }
        }
    }
}

/// Overlap of each set of `g` with each set of `h`, once.
fn add_pairs(gram: &[Gram], g: &Group, h: &Group, out: &mut Vec<(usize, usize, f64)>) {
    for i in 0..g.starts.len() - 1 {
        let begin = if gram[0].symmetric { i } else { 0 };
        for j in begin..h.starts.len() - 1 {
            let (rows, columns) = (g.rows_of(i), h.rows_of(j));
            let angles = rows.len().min(columns.len()) as f64;
            let mut total = 0.0;
            for row in rows {
                for column in columns.clone() {
                    let cosine = gram[0].at(row, column);
                    total += cosine * cosine;
                }
            }
            out.push((g.first + i, h.first + j, (total / angles).min(1.0)));
        }
    }
}
