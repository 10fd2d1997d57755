//! Sum of the products of one symmetric matrix with another whose rows and columns are permuted.
//!
//! `sum over i, j of a[j, i] b[p(i), p(j)]` in integers. The rows p(i) of b are taken sixteen at a
//! time and transposed in registers; column c = p(j) of them then lies as row j of a does, and no
//! number is looked up by itself.

use super::{Tier, dispatch};

/// Columns of a block.
pub const LANES: usize = 16;

/// Sixteen neighbours of a row, aligned for the vector loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Block(pub [i16; LANES]);

/// A square matrix of small integers, its rows padded by zeros, with a row of zeros at the end.
///
/// In each row the squares must add up to less than 2^30, so that sums fit 32 bits.
#[derive(Clone, Debug)]
pub struct Rows {
    n: usize,
    /// Blocks of a row.
    blocks: usize,
    values: Vec<Block>,
}

/// The same in strips of sixteen columns: block `strip * n + row`.
#[derive(Clone, Debug)]
pub struct Strips {
    n: usize,
    values: Vec<Block>,
}

impl Rows {
    /// Lay out the values of `cell(row, column)`.
    #[must_use]
    pub fn new(n: usize, cell: impl Fn(usize, usize) -> i16) -> Self {
        let blocks = n.div_ceil(LANES);
        let mut values = vec![Block::default(); (n + 1) * blocks];
        for row in 0..n {
            for column in 0..n {
                values[row * blocks + column / LANES].0[column % LANES] = cell(row, column);
            }
        }
        Self { n, blocks, values }
    }
}

impl Strips {
    /// Lay out the values of `cell(row, column)`.
    #[must_use]
    pub fn new(n: usize, cell: impl Fn(usize, usize) -> i16) -> Self {
        let mut values = vec![Block::default(); n * n.div_ceil(LANES)];
        for row in 0..n {
            for column in 0..n {
                values[column / LANES * n + row].0[column % LANES] = cell(row, column);
            }
        }
        Self { n, values }
    }
}

/// Rows and columns of one permutation, padded to whole blocks.
#[derive(Clone, Debug)]
pub struct Places {
    n: usize,
    /// Row of b at each place, below n; n, the row of zeros, beyond the last place.
    rows: Vec<u16>,
    /// Byte of a strip of a at which the place of each column of b begins; 0 beyond the last.
    starts: Vec<u16>,
}

impl Places {
    /// For permutations of n.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let padded = n.next_multiple_of(LANES);
        Self { n, rows: vec![n as u16; padded], starts: vec![0; padded] }
    }

    /// Take a permutation of 0..n.
    ///
    /// # Panics
    /// When it is none.
    #[inline]
    pub fn set(&mut self, order: &[u16]) {
        let n = self.n;
        assert!(order.len() == n, "a permutation of n has n places");
        self.rows[..n].copy_from_slice(order);
        let starts = &mut self.starts[..n];
        for (place, column) in order.iter().enumerate() {
            starts[usize::from(*column)] = (place * size_of::<Block>()) as u16;
        }
    }
}

/// The sum for one permutation.
///
/// # Panics
/// When the matrices and the places do not belong to the same n.
#[must_use]
pub fn permuted_product(tier: Tier, a: &Strips, b: &Rows, places: &Places) -> i64 {
    assert!(a.n == b.n && a.n == places.n, "matrices and places must fit");
    #[cfg(target_arch = "x86_64")]
    if matches!(tier.0, super::Instructions::Avx2 | super::Instructions::Avx512) {
        let (rows, starts) = (&places.rows, &places.starts);
        // SAFETY: the tier has AVX2; b has n + 1 rows, a strips of n, and `set` lets no row above n
        // and no place above n - 1.
        return unsafe { super::x86::permuted::product(&a.values, &b.values, a.n, rows, starts) };
    }
    dispatch!(tier, plain(a: &Strips = a, b: &Rows = b, places: &Places = places) -> i64)
}

#[inline(always)]
fn plain(a: &Strips, b: &Rows, places: &Places) -> i64 {
    let mut total = 0;
    for (place, source) in places.rows.iter().enumerate().take(a.n) {
        let row = &b.values[usize::from(*source) * b.blocks..][..b.blocks];
        let mut sum = 0i64;
        for (strip, columns) in a.values.chunks(a.n).zip(places.rows.chunks(LANES)) {
            for (value, column) in strip[place].0.iter().zip(columns) {
                let column = usize::from(*column).min(a.n - 1);
                sum += i64::from(*value) * i64::from(row[column / LANES].0[column % LANES]);
            }
        }
        total += sum;
    }
    total
}
