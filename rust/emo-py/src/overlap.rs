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
