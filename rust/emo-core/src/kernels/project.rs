//! Projections of rows on directions: `out[n, k] = <x[n], v[k]>`.
//!
//! Rows `[n, width]`, vectors `[k, width]` in double precision, result rounded to single. O(n k width).
//! The order of the sum is that of [`super::simd::dots`].

use std::ops::Range;

use super::partial::check_cells;
use super::simd::dots::{Packed, widen};
use crate::error::{Error, Result};
use crate::scan::{Control, Reader, Rows, Tile, check_cancel, ordered};

/// Most rows widened at a time, so that they stay in the first cache levels.
const STEP: usize = 32;
/// Most products between two looks at the flag that stops the scan: a few milliseconds without vectors.
const PRODUCTS: usize = 1 << 20;

/// Grouped dot products of rows with `k` vectors, a few rows at a time.
#[derive(Debug)]
pub(super) struct Dots<'a> {
    pub(super) rows: &'a Rows,
    vectors: Packed,
    pub(super) control: &'a Control<'a>,
}

/// Buffers of one worker.
#[derive(Debug)]
pub(super) struct Buffers {
    reader: Reader,
    wide: Vec<f64>,
    dots: Vec<f64>,
}

impl Buffers {
    pub(super) fn new(rows: &Rows) -> Self {
        Self { reader: rows.reader(), wide: Vec::new(), dots: Vec::new() }
    }
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

    /// Call `take(row, dots)` for each row of a tile in order.
    pub(super) fn each(
        &self,
        tile: &Tile,
        buffers: &mut Buffers,
        mut take: impl FnMut(usize, &[f64]),
    ) -> Result<()> {
        let Buffers { reader, wide, dots } = buffers;
        self.rows.scan(tile, reader, self.rows.panel_rows(), |panel, rows| {
            self.panel(&rows[panel.clone()], tile.rows.start + panel.start, wide, dots, &mut take)
        })
    }

    /// The same for one row.
    pub(super) fn one(
        &self,
        row: usize,
        buffers: &mut Buffers,
        mut take: impl FnMut(&[f64]),
    ) -> Result<()> {
        let Buffers { reader, wide, dots } = buffers;
        let rows = self.rows.read(&(row..row + 1), reader)?;
        self.panel(&rows, row, wide, dots, &mut |_, dots| take(dots))
    }

    fn panel(
        &self,
        rows: &[&[u8]],
        first: usize,
        wide: &mut Vec<f64>,
        dots: &mut Vec<f64>,
        take: &mut impl FnMut(usize, &[f64]),
    ) -> Result<()> {
        let (width, per_row) = (self.rows.width(), self.per_row());
        let step = (PRODUCTS / self.vectors.products_per_row().max(1)).clamp(4, STEP);
        wide.resize(step * width, 0.0);
        dots.resize(step * per_row, 0.0);
        for (index, block) in rows.chunks(step).enumerate() {
            check_cancel(self.control.cancel)?;
            if per_row > 0 {
                let wide = &mut wide[..block.len() * width];
                for (row, out) in block.iter().zip(wide.chunks_exact_mut(width)) {
                    widen(self.control.tier, self.rows.dtype(), row, out);
                }
                self.vectors.dots(self.control.tier, wide, &mut dots[..block.len() * per_row]);
            }
            for offset in 0..block.len() {
                take(
                    first + index * step + offset,
                    &dots[offset * per_row..(offset + 1) * per_row],
                );
            }
        }
        Ok(())
    }

    /// Name the first non-finite value among the rows of `range` that `used` picks.
    pub(super) fn find_non_finite(
        &self,
        range: &Range<usize>,
        used: impl Fn(usize) -> bool,
    ) -> Result<()> {
        self.rows.check_now(range)?;
        let mut reader = self.rows.reader();
        let mut values = vec![0.0; self.rows.width()];
        for row in range.clone().filter(|row| used(*row)) {
            check_cancel(self.control.cancel)?;
            self.rows.dtype().decode(self.rows.read(&(row..row + 1), &mut reader)?[0], &mut values);
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
    let size = rows.n_rows().saturating_mul(k);
    let mut out = Vec::new();
    out.try_reserve_exact(size).map_err(|_| {
        Error::resource(format!("no memory for {} rows of {k} products", rows.n_rows()))
            .hint("use fewer vectors at a time")
    })?;
    if rows.width() == 0 {
        out.resize(size, T::default());
        return Ok(out);
    }
    let dots = Dots::new(rows, vectors, k, rows.width(), control)?;
    ordered(
        &rows.tiling(1),
        control,
        || Buffers::new(rows),
        Vec::new,
        |buffers, tile, part: &mut Vec<T>| {
            part.clear();
            let mut finite = true;
            dots.each(tile, buffers, |_, dots| {
                finite &= dots.iter().all(|value| value.is_finite());
                part.extend(dots.iter().map(|value| narrow(*value)));
            })?;
            if finite { Ok(()) } else { dots.find_non_finite(&tile.rows, |_| true) }
        },
        |part| out.extend_from_slice(part),
    )?;
    rows.check_unchanged()?;
    Ok(out)
}
