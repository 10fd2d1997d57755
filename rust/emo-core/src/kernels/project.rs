//! Projections of rows on directions: `out[n, k] = <x[n], v[k]>`.
//!
//! Rows `[n, width]`, vectors `[k, width]` in double precision, result rounded to single. O(n k width).
//! The order of the sum is that of [`super::simd::dots`].

use std::ops::Range;

use super::moments::{check_cells, panels};
use super::simd::dots::{Packed, widen};
use crate::error::{Error, Result};
use crate::scan::rows::Reader;
use crate::scan::{Control, Rows, check_cancel, ordered, tile_rows};

/// Rows widened at a time, so that they stay in the first cache levels.
const STEP: usize = 32;

/// Grouped dot products of rows with `k` vectors, a few rows at a time.
#[derive(Debug)]
pub(super) struct Dots<'a> {
    pub(super) rows: &'a Rows,
    vectors: Packed,
    pub(super) control: &'a Control<'a>,
}

/// Buffers of one worker.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    reader: Reader,
    wide: Vec<f64>,
    dots: Vec<f64>,
}

impl<'a> Dots<'a> {
    /// Check the vectors' number, finiteness and grouping.
    pub(super) fn new(
        rows: &'a Rows,
        vectors: &'a [f64],
        k: usize,
        group: usize,
        control: &'a Control<'a>,
    ) -> Result<Self> {
        let width = rows.width();
        check_cells(k, width)?;
        if vectors.len() != k * width {
            return Err(Error::usage(format!(
                "{} values are given for {k} vectors of {width}",
                vectors.len()
            )));
        }
        if group == 0 || !width.is_multiple_of(group) {
            return Err(Error::usage(format!(
                "groups of {group} columns do not divide the width {width}"
            )));
        }
        if let Some(at) = vectors.iter().position(|value| !value.is_finite()) {
            return Err(Error::numerical(format!(
                "vector {} holds {} in column {}",
                at / width,
                vectors[at],
                at % width
            )));
        }
        Ok(Self { rows, vectors: Packed::new(vectors, width, group), control })
    }

    /// Dot products per row: `k * width / group`.
    pub(super) fn per_row(&self) -> usize {
        self.vectors.per_row()
    }

    /// Call `take(row, dots)` for each row of `range` in order, having checked its chunks.
    pub(super) fn each(
        &self,
        range: &Range<usize>,
        buffers: &mut Buffers,
        take: impl FnMut(usize, &[f64]),
    ) -> Result<()> {
        let Buffers { reader, wide, dots } = buffers;
        self.rows.tile(range, reader, |reader| self.each_row(range, reader, wide, dots, take))
    }

    /// The same for one row, without a look at its chunks.
    pub(super) fn one(
        &self,
        row: usize,
        buffers: &mut Buffers,
        mut take: impl FnMut(&[f64]),
    ) -> Result<()> {
        let Buffers { reader, wide, dots } = buffers;
        self.each_row(&(row..row + 1), reader, wide, dots, |_, dots| take(dots))
    }

    fn each_row(
        &self,
        range: &Range<usize>,
        reader: &mut Reader,
        wide: &mut Vec<f64>,
        dots: &mut Vec<f64>,
        mut take: impl FnMut(usize, &[f64]),
    ) -> Result<()> {
        let (width, per_row) = (self.rows.width(), self.per_row());
        if per_row == 0 {
            range.clone().for_each(|row| take(row, &[]));
            return Ok(());
        }
        wide.resize(STEP * width, 0.0);
        dots.resize(STEP * per_row, 0.0);
        for panel in panels(range, self.rows.panel_rows()) {
            let rows = self.rows.read(panel.clone(), reader)?;
            for (index, block) in rows.chunks(STEP).enumerate() {
                check_cancel(self.control.cancel)?;
                let (wide, dots) =
                    (&mut wide[..block.len() * width], &mut dots[..block.len() * per_row]);
                for (row, out) in block.iter().zip(wide.chunks_exact_mut(width)) {
                    widen(self.control.tier, self.rows.dtype(), row, out);
                }
                self.vectors.dots(self.control.tier, wide, dots);
                for (offset, dots) in dots.chunks_exact(per_row).enumerate() {
                    take(panel.start + index * STEP + offset, dots);
                }
            }
        }
        Ok(())
    }

    /// Name the first non-finite value among the rows of `range` that `used` picks.
    pub(super) fn find_non_finite(
        &self,
        range: Range<usize>,
        used: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let mut reader = Reader::default();
        let mut values = vec![0.0; self.rows.width()];
        for row in range.filter(|row| used(*row)) {
            check_cancel(self.control.cancel)?;
            self.rows.dtype().decode(self.rows.read(row..row + 1, &mut reader)?[0], &mut values);
            if let Some(column) = values.iter().position(|value| !value.is_finite()) {
                return Err(self.rows.non_finite(row, column, values[column]));
            }
        }
        Err(Error::numerical(format!(
            "dot products of tensor {:?} with the vectors overflow double precision",
            self.rows.tensor()
        )))
    }
}

/// Project every row on `k` vectors; the result is `(n, k)`, row by row.
pub fn project(rows: &Rows, vectors: &[f64], k: usize, control: &Control) -> Result<Vec<f32>> {
    let wide = dots_of_rows(rows, vectors, k, control, |value| value as f32)?;
    match wide.iter().position(|value| !value.is_finite()) {
        None => Ok(wide),
        Some(at) => Err(Error::numerical(format!(
            "the projection of row {} on vector {} overflows single precision",
            at / k,
            at % k
        ))),
    }
}

/// Dot products of every row with every vector, converted by `narrow`; `(n, k)`, row by row.
pub(super) fn dots_of_rows<T: Copy + Default + Send>(
    rows: &Rows,
    vectors: &[f64],
    k: usize,
    control: &Control,
    narrow: impl Fn(f64) -> T + Sync,
) -> Result<Vec<T>> {
    check_cells(k, rows.n_rows())?;
    let mut out = Vec::with_capacity(rows.n_rows() * k);
    if rows.width() == 0 {
        return Ok(vec![T::default(); rows.n_rows() * k]);
    }
    let dots = Dots::new(rows, vectors, k, rows.width(), control)?;
    let step = tile_rows(rows.row_bytes(), 1);
    ordered(
        rows.n_rows().div_ceil(step),
        control,
        Buffers::default,
        Vec::new,
        |buffers, tile, part: &mut Vec<T>| {
            let range = tile * step..((tile + 1) * step).min(rows.n_rows());
            part.clear();
            let mut finite = true;
            dots.each(&range, buffers, |_, dots| {
                finite &= dots.iter().all(|value| value.is_finite());
                part.extend(dots.iter().map(|value| narrow(*value)));
            })?;
            if finite { Ok(()) } else { dots.find_non_finite(range, |_| true) }
        },
        |part| out.extend_from_slice(part),
    )?;
    rows.check_unchanged()?;
    Ok(out)
}
