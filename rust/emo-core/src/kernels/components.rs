//! The pass behind principal components: `G V = sum_n x_n <x_n, v>` for rows less a pilot.
//!
//! Rows `[n, width]`, k vectors `[k, width]`, pilot `[width]`: gives the sums over rows of
//! `(x - p) <x - p, v>` `[k, width]` and, on request, those of `x - p` and of its square for each
//! column.
//! O(n k width): both products are taken from the same 64 rows while they are in the cache, so that
//! a step of subspace iteration reads the rows once.
//!
//! Single precision over at most 64 rows or 256 columns, double precision from there on; tiles are
//! merged in order. A product errs by about 1e-7 of the largest eigenvalue.

use std::ops::Range;

use super::basis::Vectors;
use super::labels::Labels;
use super::partial::check_cells;
use super::simd::ask;
use super::simd::centred::{add_columns, less_double, less_single, less_stored};
use super::simd::panels::{FourRows, LANES, ROWS, panel_sums};
use crate::error::{Error, Result};
use crate::scan::{Control, Reader, Rows, Tile, Tiling, check_cancel, ordered, tile_rows};

/// Rows whose products are summed in single precision.
const BLOCK: usize = 64;
/// Columns that are summed in single precision.
const COLUMNS: usize = 256;
/// Bytes that a cache fetches at a time.
const LINE: usize = 64;
/// As the number of labels of a tiling: tiles of at least 1024 rows.
const GROUPS: usize = 8;

/// Where rows come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Rows of a store with a label each, negative to leave a row out.
    Stored(&'a Rows, &'a [i32]),
    /// An array in memory of this width.
    Array(Vectors<'a>, usize),
}

/// Sums of one pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// `sum (x - p) <x - p, v>`, `(k, width)`.
    pub product: Vec<f64>,
    /// `sum (x - p)`, `(width,)`, or nothing where columns were not to be added up.
    pub sum: Vec<f64>,
    /// `sum (x - p)^2`, likewise.
    pub square: Vec<f64>,
    /// Rows that were used.
    pub count: usize,
    /// Rows whose products with the first vectors equal an earlier row's to the bit.
    pub repeated: usize,
}

/// Multiply `k` vectors by the Gram matrix of the rows less `pilot`, and add up the columns if
/// `columns`.
pub fn gram_product(
    source: Source,
    pilot: &[f64],
    vectors: &[f64],
    k: usize,
    columns: bool,
    control: &Control,
) -> Result<Pass> {
    let (n, width) = source.shape();
    check_cells(k, width)?;
    if pilot.len() != width || vectors.len() != k * width || k == 0 {
        return Err(Error::usage(format!(
            "{} values of a pilot and {} of {k} vectors are given for rows of {width}",
            pilot.len(),
            vectors.len()
        )));
    }
    let labels = match source {
        Source::Stored(_, labels) => Some(Labels::new(labels, 1, n)?),
        Source::Array(..) => None,
    };
    let single: Vec<f32> = pilot.iter().map(|value| *value as f32).collect();
    let product = Product {
        source,
        labels,
        pilot,
        single: &single,
        panels: panels(vectors, k, width),
        columns,
        n_panels: k.div_ceil(LANES),
        width,
        stride: width.next_multiple_of(16) + 16,
        control,
    };
    let tiling = match source {
        Source::Stored(rows, _) => rows.tiling(GROUPS),
        Source::Array(..) => Tiling::new(n, tile_rows(width * 4, GROUPS)),
    };
    let mut total = product.empty();
    ordered(
        &tiling,
        control,
        || Worker::new(&product),
        || product.empty(),
        |worker, tile, part| product.tile(tile, worker, part),
        |part| total.merge(part),
    )?;
    if let Source::Stored(rows, _) = source {
        rows.check_unchanged()?;
    }
    Ok(total.finish(k, width, product.n_panels))
}

impl Source<'_> {
    /// Bytes of a value.
    fn size(&self) -> usize {
        match self {
            Self::Stored(rows, _) => rows.dtype().size(),
            Self::Array(Vectors::Single(_), _) => size_of::<f32>(),
            Self::Array(Vectors::Double(_), _) => size_of::<f64>(),
        }
    }

    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Stored(rows, _) => (rows.n_rows(), rows.width()),
            Self::Array(values, width) => (values.len().checked_div(*width).unwrap_or(0), *width),
        }
    }
}

/// Vectors in panels of eight, each `(width, 8)`; missing ones are zero.
fn panels(vectors: &[f64], k: usize, width: usize) -> Vec<[f32; LANES]> {
    let mut panels = vec![[0.0; LANES]; k.div_ceil(LANES) * width];
    for (index, vector) in vectors.chunks_exact(width.max(1)).enumerate() {
        let panel = &mut panels[index / LANES * width..][..width];
        for (slot, value) in panel.iter_mut().zip(vector) {
            slot[index % LANES] = *value as f32;
        }
    }
    panels
}

/// Sums of one tile, or of all; the product is `(width, panels, 8)`.
#[derive(Debug)]
struct Part {
    product: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
    count: usize,
    marks: Vec<[u32; 4]>,
}

impl Part {
    fn merge(&mut self, part: &Self) {
        let add = |total: &mut [f64], part: &[f64]| {
            for (total, part) in total.iter_mut().zip(part) {
                *total += part;
            }
        };
        add(&mut self.product, &part.product);
        add(&mut self.sum, &part.sum);
        add(&mut self.square, &part.square);
        self.count += part.count;
        self.marks.extend_from_slice(&part.marks);
    }

    fn finish(mut self, k: usize, width: usize, n_panels: usize) -> Pass {
        let stride = n_panels * LANES;
        let entry = |at: usize| self.product[at % width * stride + at / width];
        let product = (0..k * width).map(entry).collect();
        self.marks.sort_unstable();
        let repeated = self.marks.windows(2).filter(|pair| pair[0] == pair[1]).count();
        Pass { product, sum: self.sum, square: self.square, count: self.count, repeated }
    }
}

struct Product<'a> {
    source: Source<'a>,
    labels: Option<Labels<'a>>,
    pilot: &'a [f64],
    /// The pilot rounded, for rows in single precision.
    single: &'a [f32],
    panels: Vec<[f32; LANES]>,
    /// Whether columns are added up.
    columns: bool,
    n_panels: usize,
    width: usize,
    /// Floats from row to row of a block: rows a multiple of 4 KiB apart would share cache sets.
    stride: usize,
    control: &'a Control<'a>,
}

/// Buffers of one worker.
struct Worker {
    reader: Option<Reader>,
    /// Rows of a block less the pilot.
    x: Vec<f32>,
    /// Rows in it.
    filled: usize,
    /// Where the last of them came from.
    origin: *const u8,
    /// Products of the rows with the vectors, `(panels, 64, 8)`.
    wide: Vec<[f64; LANES]>,
    narrow: Vec<[f32; LANES]>,
}

impl Worker {
    fn new(product: &Product) -> Self {
        let reader = match product.source {
            Source::Stored(rows, _) => Some(rows.reader()),
            Source::Array(..) => None,
        };
        Self {
            reader,
            x: vec![0.0; BLOCK * product.stride],
            filled: 0,
            origin: std::ptr::null(),
            wide: vec![[0.0; LANES]; product.n_panels * BLOCK],
            narrow: vec![[0.0; LANES]; product.n_panels * BLOCK],
        }
    }
}

impl Product<'_> {
    fn empty(&self) -> Part {
        let columns = if self.columns { self.width } else { 0 };
        Part {
            product: vec![0.0; self.width * self.n_panels * LANES],
            sum: vec![0.0; columns],
            square: vec![0.0; columns],
            count: 0,
            marks: Vec::new(),
        }
    }

    fn tile(&self, tile: &Tile, worker: &mut Worker, part: &mut Part) -> Result<()> {
        part.product.fill(0.0);
        part.sum.fill(0.0);
        part.square.fill(0.0);
        part.marks.clear();
        part.count = 0;
        worker.filled = 0;
        match self.source {
            Source::Stored(rows, _) => {
                let mut reader = worker.reader.take().unwrap_or_else(|| rows.reader());
                rows.scan(tile, &mut reader, BLOCK, |panel, all| {
                    for (index, row) in all[panel.clone()].iter().enumerate() {
                        let at = tile.rows.start + panel.start + index;
                        self.push(at, row.as_ptr(), worker, part, |x| {
                            less_stored(self.control.tier, rows.dtype(), row, self.single, x);
                        })?;
                    }
                    Ok(())
                })?;
                worker.reader = Some(reader);
            }
            Source::Array(values, width) => {
                for row in tile.rows.clone() {
                    let range = row * width..(row + 1) * width;
                    let tier = self.control.tier;
                    match values.slice(range) {
                        Vectors::Single(values) => {
                            self.push(row, values.as_ptr().cast(), worker, part, |x| {
                                less_single(tier, values, self.single, x);
                            })?;
                        }
                        Vectors::Double(values) => {
                            self.push(row, values.as_ptr().cast(), worker, part, |x| {
                                less_double(tier, values, self.pilot, x);
                            })?;
                        }
                    }
                }
            }
        }
        self.block(worker, part)?;
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        if finite(&part.product) && finite(&part.square) {
            return Ok(());
        }
        self.find_non_finite(&tile.rows)
    }

    /// Take a row into the block, and compute the block's products when it is full.
    fn push(
        &self,
        row: usize,
        origin: *const u8,
        worker: &mut Worker,
        part: &mut Part,
        copy: impl FnOnce(&mut [f32]),
    ) -> Result<()> {
        if self.labels.as_ref().is_some_and(|labels| labels.of(row).is_none()) {
            return Ok(());
        }
        let begin = worker.filled * self.stride;
        copy(&mut worker.x[begin..begin + self.width]);
        worker.origin = origin;
        worker.filled += 1;
        if worker.filled == BLOCK { self.block(worker, part) } else { Ok(()) }
    }

    /// Add the products of the rows in the block.
    fn block(&self, worker: &mut Worker, part: &mut Part) -> Result<()> {
        check_cancel(self.control.cancel)?;
        let n = worker.filled;
        let padded = n.next_multiple_of(ROWS);
        worker.x[n * self.stride..padded * self.stride].fill(0.0);
        let x = &worker.x[..padded * self.stride];
        if self.columns {
            add_columns(self.control.tier, x, self.stride, &mut part.sum, &mut part.square);
        }
        worker.wide.fill([0.0; LANES]);
        for begin in (0..self.width).step_by(COLUMNS) {
            let columns = begin..(begin + COLUMNS).min(self.width);
            each_panels(self.n_panels, |first, count| match count {
                3 => self.rows_by_vectors::<3>(worker, &columns, first, padded),
                2 => self.rows_by_vectors::<2>(worker, &columns, first, padded),
                _ => self.rows_by_vectors::<1>(worker, &columns, first, padded),
            });
        }
        for (narrow, wide) in worker.narrow.iter_mut().zip(&worker.wide) {
            *narrow = wide.map(|value| value as f32);
        }
        part.marks.extend((0..n).map(|row| {
            let [a, b, c, d, ..] = worker.narrow[row];
            [a, b, c, d].map(f32::to_bits)
        }));
        each_panels(self.n_panels, |first, count| match count {
            3 => self.columns_by_products::<3>(worker, part, first, padded),
            2 => self.columns_by_products::<2>(worker, part, first, padded),
            _ => self.columns_by_products::<1>(worker, part, first, padded),
        });
        part.count += n;
        worker.filled = 0;
        Ok(())
    }

    fn rows_by_vectors<const C: usize>(
        &self,
        worker: &mut Worker,
        columns: &Range<usize>,
        first: usize,
        padded: usize,
    ) {
        let panel = |next: usize| &self.panels[(first + next) * self.width..][columns.clone()];
        let panels: [_; C] = std::array::from_fn(panel);
        for row in (0..padded).step_by(ROWS) {
            let values = &worker.x[row * self.stride + columns.start..];
            let sums = panel_sums(
                self.control.tier,
                FourRows { values, row: self.stride, step: 1 },
                panels,
            );
            for (offset, sums) in sums.iter().enumerate() {
                for (next, sum) in sums.iter().enumerate() {
                    let wide = &mut worker.wide[(first + next) * BLOCK + row + offset];
                    for lane in 0..LANES {
                        wide[lane] += f64::from(sum[lane]);
                    }
                }
            }
        }
    }

    /// Ask for a part of the rows that come after those of the block, as large as that of its columns
    /// from `column` on.
    fn ask_ahead(&self, worker: &Worker, column: usize) {
        let size = self.source.size();
        let next = worker.origin.wrapping_add((self.width + column * BLOCK) * size);
        (0..ROWS * BLOCK * size).step_by(LINE).for_each(|byte| ask(next.wrapping_add(byte)));
    }

    fn columns_by_products<const C: usize>(
        &self,
        worker: &Worker,
        part: &mut Part,
        first: usize,
        padded: usize,
    ) {
        let panel = |next: usize| &worker.narrow[(first + next) * BLOCK..][..padded];
        let panels: [_; C] = std::array::from_fn(panel);
        let stride = self.n_panels * LANES;
        // Columns beyond the width are the padding of the rows.
        for column in (0..self.width).step_by(ROWS) {
            let values = &worker.x[column..];
            let a = FourRows { values, row: 1, step: self.stride };
            if first == 0 {
                self.ask_ahead(worker, column);
            }
            let sums = panel_sums(self.control.tier, a, panels);
            for (column, sums) in (column..self.width).zip(&sums) {
                let out = &mut part.product[column * stride + first * LANES..][..C * LANES];
                for (total, sum) in out.iter_mut().zip(sums.as_flattened()) {
                    *total += f64::from(*sum);
                }
            }
        }
    }

    /// Name the first value among the rows of a tile that is not finite.
    fn find_non_finite(&self, range: &Range<usize>) -> Result<()> {
        let used =
            |row: &usize| self.labels.as_ref().is_none_or(|labels| labels.of(*row).is_some());
        for row in range.clone().filter(used) {
            check_cancel(self.control.cancel)?;
            match self.source {
                Source::Stored(rows, _) => {
                    let mut values = vec![0.0; self.width];
                    let mut reader = rows.reader();
                    rows.dtype().decode(rows.read(&(row..row + 1), &mut reader)?[0], &mut values);
                    if let Some(column) = values.iter().position(|value| !value.is_finite()) {
                        return Err(rows.non_finite(row, column, values[column]));
                    }
                }
                Source::Array(values, width) => {
                    let mut wide = Vec::new();
                    values.slice(row * width..(row + 1) * width).widen(&mut wide);
                    if let Some(column) = wide.iter().position(|value| !value.is_finite()) {
                        let value = wide[column];
                        let place = format!("x holds {value} at row {row}, column {column}");
                        return Err(Error::numerical(place)
                            .hint("leave this row out, or compute it again in a wider dtype"));
                    }
                }
            }
        }
        Err(Error::numerical("products of the rows overflow single precision")
            .hint("divide the rows by a constant"))
    }
}

/// Panels from `first` on, three at a time, then what is left.
fn each_panels(n_panels: usize, mut take: impl FnMut(usize, usize)) {
    for first in (0..n_panels).step_by(3) {
        take(first, (n_panels - first).min(3));
    }
}
