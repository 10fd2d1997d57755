//! Subspaces: bases and overlaps of many sets of vectors.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use emo_core::kernels::overlap::{Wanted, overlaps};
use numpy::IntoPyArray;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{Sets, shaped};
use crate::run::run;

/// Overlap of the row spans of every pair of sets: ``|U_i U_j^T|_F^2 / min(k_i, k_j)``.
///
/// Bases are made by Cholesky-QR2; where rows are nearly dependent a Householder QR with column
/// pivoting finds the rank.
///
/// Parameters
/// ----------
/// sets : m arrays (n_i, d) of float32 or float64
///     Vectors in the rows.
/// tolerances : m floats
///     For each set the length below which a unit row, less what the others explain of it, counts
///     as dependent.
/// double : bool
///     Sum in double precision throughout; otherwise in single precision over 128 columns and in
///     double precision from there on, so that an overlap errs by less than 1e-6.
/// bases : bool
///     Give the bases as well.
///
/// Returns
/// -------
/// dict
///     ``overlap`` (m, m), symmetric, at most 1; ``ranks`` (m,); ``bases`` (sum of ranks, d), one
///     set below the other, or (0, d).
///
/// Raises
/// ------
/// NumericalError
///     A value is not finite, named by set, row and column, or a set spans nothing.
/// UsageError
///     An array of another dtype, layout or width.
#[pyfunction]
#[pyo3(signature = (sets, tolerances, *, double, bases, threads=0))]
pub(crate) fn subspace_overlaps<'py>(
    py: Python<'py>,
    sets: Vec<Bound<'py, PyAny>>,
    tolerances: Vec<f64>,
    double: bool,
    bases: bool,
    threads: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let held = Sets::new(&sets)?;
    let (vectors, width, m) = (held.vectors()?, held.width(), sets.len());
    let wanted = Wanted { double, bases };
    let found =
        run(py, threads, |control| overlaps(&vectors, &tolerances, width, wanted, control))?;
    let dict = PyDict::new(py);
    let rows = found.bases.len().checked_div(width).unwrap_or(0);
    dict.set_item("overlap", shaped(py, found.overlap, [m, m])?)?;
    dict.set_item("bases", shaped(py, found.bases, [rows, width])?)?;
    let ranks: Vec<i64> = found.ranks.into_iter().map(|rank| rank as i64).collect();
    dict.set_item("ranks", ranks.into_pyarray(py))?;
    Ok(dict)
}
