//! Sum of the products of one symmetric matrix with another whose rows and columns are permuted.
//!
//! `sum over i < j of a[i, j] b[p(i), p(j)]` in integers, without looking up any number by itself.
//! With AVX-512 row p(i) of b lies in registers, tables in which p(j) is looked up for 32 places j at
//! a time. Elsewhere, and where a row would fill too many registers, the rows p(i) of b are taken
//! sixteen at a time and transposed in registers: column c = p(j) of them then lies as row j of a.

#[cfg(target_arch = "x86_64")]
use super::{Instructions, x86};
use super::{Tier, dispatch};

/// Columns of a block.
pub(super) const LANES: usize = 16;
/// Columns of a table.
#[cfg(target_arch = "x86_64")]
pub(super) const WIDE: usize = 32;
/// Most conditions whose rows are looked up as tables.
#[cfg(target_arch = "x86_64")]
const MOST_IN_TABLES: usize = 256;

/// Sixteen neighbours of a row, aligned for the vector loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub(super) struct Block(pub(super) [i16; LANES]);

/// Thirty-two neighbours of a row, aligned for the vector loads.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Table(pub(super) [i16; WIDE]);

/// Two symmetric matrices of small integers, as the instructions of a tier take them.
///
/// In each row the squares must add up to less than 2^30, so that sums fit 32 bits.
#[derive(Clone, Debug)]
pub struct Product {
    tier: Tier,
    n: usize,
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Layout {
    /// a in strips of sixteen columns, block `strip * n + row`; b in rows of blocks, padded by zeros
    /// and with a row of zeros at the end.
    Strips { a: Vec<Block>, b: Vec<Block> },
    /// Rows of `width` tables; in those of a what is not above the diagonal is zero.
    #[cfg(target_arch = "x86_64")]
    Tables { a: Vec<Table>, b: Vec<Table>, width: usize },
}

/// Rows and columns of one permutation, padded to whole blocks.
#[derive(Clone, Debug)]
pub struct Places {
    n: usize,
    /// Row of b at each place; beyond the last place n, the row of zeros, for strips, 0 for tables.
    rows: Vec<u16>,
    /// Byte of a strip of a at which the place of each column of b begins, 0 beyond the last; none
    /// for tables.
    starts: Vec<u16>,
}

impl Places {
    /// Take a permutation of 0..n.
    ///
    /// # Panics
    /// When it is none.
    #[inline]
    pub fn set(&mut self, order: &[u16]) {
        let n = self.n;
        assert!(order.len() == n, "a permutation of n has n places");
        self.rows[..n].copy_from_slice(order);
        if let Some(starts) = self.starts.get_mut(..n) {
            for (place, column) in order.iter().enumerate() {
                starts[usize::from(*column)] = (place * size_of::<Block>()) as u16;
            }
        } else {
            let most = order.iter().fold(0, |most, row| most.max(*row));
            assert!(usize::from(most) < n, "a permutation of n has no place above n - 1");
        }
    }
}

impl Product {
    /// Lay out the values of `a(row, column)` and `b(row, column)`, both symmetric with zeros on the
    /// diagonal.
    #[must_use]
    pub fn new(
        tier: Tier,
        n: usize,
        a: impl Fn(usize, usize) -> i16,
        b: impl Fn(usize, usize) -> i16,
    ) -> Self {
        #[cfg(target_arch = "x86_64")]
        if tier.0 == Instructions::Avx512 && n <= MOST_IN_TABLES {
            return Self { tier, n, layout: in_tables(n, a, b) };
        }
        let blocks = n.div_ceil(LANES);
        let mut strips = vec![Block::default(); n * blocks];
        let mut rows = vec![Block::default(); (n + 1) * blocks];
        for row in 0..n {
            for column in 0..n {
                let (block, lane) = (column / LANES, column % LANES);
                strips[block * n + row].0[lane] = a(row, column);
                rows[row * blocks + block].0[lane] = b(row, column);
            }
        }
        Self { tier, n, layout: Layout::Strips { a: strips, b: rows } }
    }

    /// Room for the places of permutations.
    #[must_use]
    pub fn places(&self) -> Places {
        let (rows, starts, beyond) = self.room();
        Places { n: self.n, rows: vec![beyond; rows], starts: vec![0; starts] }
    }

    /// Numbers of rows and of starts of [`Places`], and the row beyond the last place.
    fn room(&self) -> (usize, usize, u16) {
        let n = self.n;
        match self.layout {
            Layout::Strips { .. } => {
                (n.next_multiple_of(LANES), n.next_multiple_of(LANES), n as u16)
            }
            #[cfg(target_arch = "x86_64")]
            Layout::Tables { .. } => (n.next_multiple_of(WIDE), 0, 0),
        }
    }

    /// The sum for one permutation.
    ///
    /// # Panics
    /// When the places are those of another product.
    #[must_use]
    pub fn sum(&self, places: &Places) -> i64 {
        let (n, rows, starts) = (self.n, &places.rows[..], &places.starts[..]);
        let (n_rows, n_starts, _) = self.room();
        let fits = n == places.n && (rows.len(), starts.len()) == (n_rows, n_starts);
        assert!(fits, "matrices and places must fit");
        match &self.layout {
            Layout::Strips { a, b } => twice(self.tier, a, b, n, rows, starts) / 2,
            // SAFETY: there are tables only with AVX-512; `in_tables` makes n rows of `width`, and
            // `set` lets no place above n - 1.
            #[cfg(target_arch = "x86_64")]
            Layout::Tables { a, b, width } => unsafe { x86::tables::sum(a, b, *width, rows) },
        }
    }
}

/// Lay out two matrices in tables.
#[cfg(target_arch = "x86_64")]
fn in_tables(n: usize, a: impl Fn(usize, usize) -> i16, b: impl Fn(usize, usize) -> i16) -> Layout {
    let width = if n <= WIDE { 1 } else { n.div_ceil(2 * WIDE) * 2 };
    let (mut above, mut rows) =
        (vec![Table::default(); n * width], vec![Table::default(); n * width]);
    for row in 0..n {
        for column in 0..n {
            let (table, lane) = (row * width + column / WIDE, column % WIDE);
            above[table].0[lane] = if row < column { a(row, column) } else { 0 };
            rows[table].0[lane] = b(row, column);
        }
    }
    Layout::Tables { a: above, b: rows, width }
}

/// Sum over all i and j from strips of a and rows of b.
fn twice(tier: Tier, a: &[Block], b: &[Block], n: usize, rows: &[u16], starts: &[u16]) -> i64 {
    #[cfg(target_arch = "x86_64")]
    if matches!(tier.0, Instructions::Avx2 | Instructions::Avx512) {
        // SAFETY: the tier has AVX2; b has n + 1 rows, a strips of n, and `set` lets no row above n
        // and no place above n - 1.
        return unsafe { x86::permuted::product(a, b, n, rows, starts) };
    }
    let _ = starts;
    dispatch!(tier, plain(
        a: &[Block] = a, b: &[Block] = b, n: usize = n, rows: &[u16] = rows
    ) -> i64)
}

#[inline(always)]
fn plain(a: &[Block], b: &[Block], n: usize, rows: &[u16]) -> i64 {
    let blocks = n.div_ceil(LANES);
    let mut total = 0;
    for (place, source) in rows.iter().enumerate().take(n) {
        let row = &b[usize::from(*source) * blocks..][..blocks];
        let mut sum = 0i64;
        for (strip, columns) in a.chunks(n).zip(rows.chunks(LANES)) {
            for (value, column) in strip[place].0.iter().zip(columns) {
                let column = usize::from(*column).min(n - 1);
                sum += i64::from(*value) * i64::from(row[column / LANES].0[column % LANES]);
            }
        }
        total += sum;
    }
    total
}
