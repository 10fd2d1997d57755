//! Sums of all pairs of two lists of triangles, those of the second list permuted.
//!
//! `sums[r, c] = sum over i < j of a[r, (i, j)] b[c, (p(i), p(j))]` in integers. Numbers of the
//! second list lie side by side, so that a permutation moves rows of sixteen; two cells of a
//! triangle are multiplied and added at once.

use super::{Tier, dispatch};

/// Columns of a panel.
pub const LANES: usize = 16;
/// Pairs of cells that are multiplied before the next ones are gathered.
const DEPTH: usize = 256;
/// Rows whose sums are kept in registers together.
const ROWS: usize = 4;

/// Two cells of one triangle.
pub(super) type Two = [i16; 2];

/// Two cells of sixteen triangles, aligned for the vector loads.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Twos(pub(super) [Two; LANES]);

/// The first list.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[rows, depth]`.
    values: Vec<Two>,
    rows: usize,
    depth: usize,
}

impl Factors {
    /// Lay out triangles of one size.
    #[must_use]
    pub fn new(triangles: &[Vec<i16>]) -> Self {
        let depth = triangles.first().map_or(0, |triangle| triangle.len().div_ceil(2));
        let twos = triangles.iter().flat_map(|triangle| triangle.chunks(2));
        let values = twos.map(|two| [two[0], two.get(1).copied().unwrap_or(0)]).collect();
        Self { values, rows: triangles.len(), depth }
    }
}

/// The second list.
#[derive(Clone, Debug)]
pub struct Columns {
    n: usize,
    panels: usize,
    /// `[panels, cells + 1]`; the last cell is zero.
    values: Vec<[i16; LANES]>,
    cells: usize,
    /// Cell of each pair of conditions, `[n, n]`.
    index: Vec<u32>,
}

impl Columns {
    /// Lay out triangles of n conditions.
    ///
    /// The squares of each triangle of both lists must add up to less than 2^31.
    #[must_use]
    pub fn new(n: usize, triangles: &[Vec<i16>]) -> Self {
        let (cells, panels) = (n * (n - 1) / 2, triangles.len().div_ceil(LANES));
        let mut values = vec![[0; LANES]; panels * (cells + 1)];
        for (at, triangle) in triangles.iter().enumerate() {
            let panel = &mut values[at / LANES * (cells + 1)..];
            for (cell, value) in panel.iter_mut().zip(triangle) {
                cell[at % LANES] = *value;
            }
        }
        let mut index = vec![0; n * n];
        let places = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        for (cell, (i, j)) in places.enumerate() {
            index[i * n + j] = cell as u32;
            index[j * n + i] = cell as u32;
        }
        Self { n, panels, values, cells, index }
    }
}

/// Sums of all pairs for one permutation.
#[derive(Clone, Debug)]
pub struct Sums {
    /// `[panels, rows]`.
    values: Vec<[i32; LANES]>,
    rows: usize,
    cells: Vec<u32>,
    gathered: Vec<Twos>,
}

impl Sums {
    /// Room for the sums of two lists.
    #[must_use]
    pub fn new(factors: &Factors, columns: &Columns) -> Self {
        Self {
            values: vec![[0; LANES]; columns.panels * factors.rows],
            rows: factors.rows,
            cells: vec![columns.cells as u32; factors.depth * 2],
            gathered: vec![Twos([[0; 2]; LANES]); DEPTH.min(factors.depth)],
        }
    }

    /// Sum of a row of the first list and a column of the second.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> i32 {
        self.values[column / LANES * self.rows + row][column % LANES]
    }

    /// Work out all sums for one permutation.
    pub fn multiply(&mut self, tier: Tier, factors: &Factors, columns: &Columns, order: &[u16]) {
        let Self { values, rows, cells, gathered } = self;
        let n = columns.n;
        let mut slots = cells.iter_mut();
        for (at, first) in order.iter().enumerate() {
            let index = &columns.index[usize::from(*first) * n..][..n];
            for (second, slot) in order[at + 1..].iter().zip(&mut slots) {
                *slot = index[usize::from(*second)];
            }
        }
        values.fill([0; LANES]);
        for begin in (0..factors.depth).step_by(DEPTH) {
            let depth = DEPTH.min(factors.depth - begin);
            let (cells, gathered) = (&cells[2 * begin..][..2 * depth], &mut gathered[..depth]);
            for (sums, panel) in
                values.chunks_mut(*rows).zip(columns.values.chunks(columns.cells + 1))
            {
                dispatch!(tier, gather(
                    panel: &[[i16; LANES]] = panel, cells: &[u32] = cells, out: &mut [Twos] = gathered
                ));
                let rows = |row: usize| &factors.values[row * factors.depth + begin..][..depth];
                let mut row = 0;
                while row + ROWS <= sums.len() {
                    let a: [&[Two]; ROWS] = std::array::from_fn(|at| rows(row + at));
                    add_products(tier, a, gathered, &mut sums[row..]);
                    row += ROWS;
                }
                for row in row..sums.len() {
                    add_products(tier, [rows(row)], gathered, &mut sums[row..]);
                }
            }
        }
    }
}

#[inline(always)]
fn gather(panel: &[[i16; LANES]], cells: &[u32], out: &mut [Twos]) {
    for (twos, cells) in out.iter_mut().zip(cells.as_chunks::<2>().0) {
        let (x, y) = (&panel[cells[0] as usize], &panel[cells[1] as usize]);
        for lane in 0..LANES {
            twos.0[lane] = [x[lane], y[lane]];
        }
    }
}

/// Add the products of R rows with a gathered panel to their sums.
fn add_products<const R: usize>(tier: Tier, a: [&[Two]; R], b: &[Twos], sums: &mut [[i32; LANES]]) {
    assert!(a.iter().all(|a| a.len() == b.len()) && sums.len() >= R, "rows and sums must fit");
    #[cfg(target_arch = "x86_64")]
    if matches!(tier.0, super::Instructions::Avx2 | super::Instructions::Avx512) {
        // SAFETY: the tier has AVX2, and the lengths were just checked.
        return unsafe { super::x86::outer::add_products(a, b, sums) };
    }
    let _ = tier;
    for (a, sums) in a.iter().zip(sums) {
        for (two, twos) in a.iter().zip(b) {
            for (sum, other) in sums.iter_mut().zip(twos.0) {
                *sum += i32::from(two[0]) * i32::from(other[0])
                    + i32::from(two[1]) * i32::from(other[1]);
            }
        }
    }
}

/// A sum and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// Row of the first list.
    pub row: usize,
    /// Panel of the second list.
    pub panel: usize,
    /// The sum (its size when two-sided).
    pub sum: i64,
}

/// Limits that all sums are compared with, and counts of those beyond; `[panels, rows]`.
#[derive(Clone, Debug)]
pub struct Limits {
    cells: Vec<Cells>,
    rows: usize,
    columns: usize,
    two_sided: bool,
}

#[derive(Clone, Copy, Debug)]
struct Cells {
    open: [i32; LANES],
    sure: [i32; LANES],
    cut: [i32; LANES],
    counts: [u32; LANES],
    /// Correlation per unit of a sum; not a number beyond the last column, never the largest.
    units: [f32; LANES],
}

impl Limits {
    /// Nothing counts yet.
    #[must_use]
    pub fn new(rows: usize, columns: usize, two_sided: bool) -> Self {
        let never = Cells {
            open: [i32::MAX; LANES],
            sure: [i32::MAX; LANES],
            cut: [i32::MAX; LANES],
            counts: [0; LANES],
            units: [f32::NAN; LANES],
        };
        Self { cells: vec![never; columns.div_ceil(LANES) * rows], rows, columns, two_sided }
    }

    /// Set the limits of one pair: sums from `open` to `sure` are open, those above are counted.
    pub fn set(&mut self, row: usize, column: usize, open: i64, sure: i64, unit: f32) {
        let (cells, lane) = (&mut self.cells[column / LANES * self.rows + row], column % LANES);
        cells.open[lane] = narrow(open);
        cells.sure[lane] = narrow(sure);
        cells.cut[lane] = i32::MIN;
        cells.units[lane] = unit;
    }

    /// Sums up to `cut` need no more looking at.
    pub fn cut(&mut self, tile: Tile, lane: usize, cut: i64) {
        self.cells[tile.panel * self.rows + tile.row].cut[lane] = narrow(cut);
    }

    /// Count sums above their limits and call `open` for those that are open or above their cut;
    /// gives the largest correlation.
    pub fn compare(
        &mut self,
        tier: Tier,
        sums: &Sums,
        mut open: impl FnMut(&mut Self, Tile, usize),
    ) -> f32 {
        let (mut most, two_sided) = ([f32::NEG_INFINITY; LANES], self.two_sided);
        for (at, sums) in sums.values.iter().enumerate() {
            let cells = &mut self.cells[at];
            let flags = dispatch!(tier, compare(
                sums: &[i32; LANES] = sums, two_sided: bool = two_sided,
                cells: &mut Cells = cells, most: &mut [f32; LANES] = &mut most,
            ) -> [u32; LANES]);
            if flags == [0; LANES] {
                continue;
            }
            for lane in (0..LANES).filter(|lane| flags[*lane] != 0) {
                let sum = i64::from(if two_sided { sums[lane].abs() } else { sums[lane] });
                open(self, Tile { row: at % self.rows, panel: at / self.rows, sum }, lane);
            }
        }
        most.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// Call `take(row, column, count)` for every pair.
    pub fn counts(&self, mut take: impl FnMut(usize, usize, u64)) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                let cells = &self.cells[column / LANES * self.rows + row];
                take(row, column, u64::from(cells.counts[column % LANES]));
            }
        }
    }
}

fn narrow(limit: i64) -> i32 {
    limit.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

#[inline(always)]
fn compare(
    sums: &[i32; LANES],
    two_sided: bool,
    cells: &mut Cells,
    most: &mut [f32; LANES],
) -> [u32; LANES] {
    let mut flags = [0; LANES];
    for lane in 0..LANES {
        let sum = if two_sided { sums[lane].abs() } else { sums[lane] };
        let sure = u32::from(sum > cells.sure[lane]);
        let open = u32::from(sum >= cells.open[lane]) & (sure ^ 1);
        flags[lane] = open | u32::from(sum > cells.cut[lane]);
        cells.counts[lane] += sure;
        let r = sum as f32 * cells.units[lane];
        most[lane] = if r > most[lane] { r } else { most[lane] };
    }
    flags
}
