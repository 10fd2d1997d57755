//! Wrappers of the permutation tests of representational similarity.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use emo_core::kernels::rsa::permutations::Shuffler;
use emo_core::kernels::rsa::statistic::Correlation;
use emo_core::kernels::rsa::{self, Metric, Options};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{Matrix, flat, outcome_dict, rsa_grid_dict, shaped, square};
use crate::error::to_python;
use crate::run::run;

type Object<'py> = PyResult<Bound<'py, PyAny>>;
type Dict<'py> = PyResult<Bound<'py, PyDict>>;

fn options(
    py: Python<'_>,
    correlation: &str,
    (permutations, exact): (u64, bool),
    two_sided: bool,
    seed: u64,
) -> PyResult<Options> {
    let correlation = Correlation::from_name(correlation).map_err(|error| to_python(py, &error))?;
    Ok(Options { correlation, permutations, exact, two_sided, seed })
}

#[pyfunction]
#[pyo3(signature = (vectors, metric, *, threads=0))]
pub(crate) fn dissimilarity<'py>(
    py: Python<'py>,
    vectors: &Bound<'py, PyAny>,
    metric: &str,
    threads: usize,
) -> Object<'py> {
    let vectors = Matrix::new(vectors, "vectors")?;
    let ((n, width), values) = (vectors.shape(), vectors.values()?);
    let out = run(py, threads, |control| {
        rsa::dissimilarity(values, width, Metric::from_name(metric)?, control)
    })?;
    shaped(py, out, [n, n])
}

#[pyfunction]
#[pyo3(signature = (n, count, seed, *, stream=0))]
pub(crate) fn rsa_permutations(
    py: Python<'_>,
    n: u16,
    count: usize,
    seed: u64,
    stream: u64,
) -> Object<'_> {
    let mut orders = vec![0; usize::from(n) * count];
    let mut shuffler = Shuffler::new(usize::from(n), seed, stream);
    for (index, order) in orders.chunks_exact_mut(usize::from(n).max(1)).enumerate() {
        shuffler.write(index as u64, order);
    }
    shaped(py, orders, [count, usize::from(n)])
}

#[pyfunction]
#[pyo3(name = "rsa", signature = (
    x, y, *, correlation, permutations, exact, two_sided, seed, threads=0
))]
pub(crate) fn rsa_pair<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    correlation: &str,
    permutations: u64,
    exact: bool,
    two_sided: bool,
    seed: u64,
    threads: usize,
) -> Dict<'py> {
    let (x, y) = (Matrix::new(x, "x")?, Matrix::new(y, "y")?);
    let n = square(py, x.shape(), y.shape())?;
    let options = options(py, correlation, (permutations, exact), two_sided, seed)?;
    let (x, y) = (x.values()?, y.values()?);
    outcome_dict(py, &run(py, threads, |control| rsa::rsa(x, y, n, &options, control))?)
}

#[pyfunction]
#[pyo3(signature = (
    xs, ys, n, *, correlation, permutations, exact, two_sided, seed, threads=0
))]
pub(crate) fn rsa_grid<'py>(
    py: Python<'py>,
    xs: &Bound<'py, PyAny>,
    ys: &Bound<'py, PyAny>,
    n: usize,
    correlation: &str,
    permutations: u64,
    exact: bool,
    two_sided: bool,
    seed: u64,
    threads: usize,
) -> Dict<'py> {
    let (xs, ys) = (Matrix::new(xs, "xs")?, Matrix::new(ys, "ys")?);
    let shape = flat(py, xs.shape(), ys.shape(), n)?;
    let options = options(py, correlation, (permutations, exact), two_sided, seed)?;
    let (xs, ys) = (xs.values()?, ys.values()?);
    let grid = run(py, threads, |control| rsa::rsa_grid(xs, ys, n, &options, control))?;
    rsa_grid_dict(py, grid, shape)
}
