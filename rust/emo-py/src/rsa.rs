//! Wrappers of the permutation tests of representational similarity.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use emo_core::kernels::rsa::permutations::random;
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

/// Dissimilarities of all pairs of rows.
///
/// Parameters
/// ----------
/// vectors : (n, d) float64 array
///     One row per condition.
/// metric : {"cosine", "correlation", "euclidean"}
///     1 - cosine, the same after each row's mean is taken off, or the length of the difference.
///
/// Returns
/// -------
/// (n, n) float64 array
///     Symmetric, zeros on the diagonal; the same bits for any threads and instructions.
///
/// Raises
/// ------
/// NumericalError
///     A value is not finite, or a row is zero (cosine) or constant (correlation).
/// UsageError
///     An unknown metric, or no columns.
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

/// Draw random permutations: those that `rsa` and `rsa_grid` use are of stream 0.
///
/// Permutation i uses the words w of ``numpy.random.Philox(key=seed, counter=[0, stream, i, 0])``.
/// For bound = n, n - 1, ... 2 the places bound - 1 and ``w * bound >> 64`` are exchanged, and w
/// becomes ``w * bound % 2**64``. The longest runs of bounds whose product P is at most 2**40 share
/// one w; where what is left of it is below ``2**64 % P``, the run is drawn again with the next.
///
/// Parameters
/// ----------
/// n : int
///     Items, below 2**32.
/// count : int
///     Permutations: those of the indices 0 to count - 1.
/// seed : int
///     0 to 2**64 - 1.
/// stream : int
///     0 to 2**64 - 1; permutations of different streams have no words in common.
///
/// Returns
/// -------
/// (count, n) uint32 array
///     Row i holds the places of permutation i.
///
/// Raises
/// ------
/// UsageError
///     More than 2**30 places in all.
#[pyfunction]
#[pyo3(signature = (n, count, seed, *, stream=0))]
pub(crate) fn permutations(
    py: Python<'_>,
    n: u32,
    count: usize,
    seed: u64,
    stream: u64,
) -> Object<'_> {
    let n = n as usize;
    let orders = run(py, 1, |control| random(n, count, seed, stream, control))?;
    shaped(py, orders, [count, n])
}

/// Correlate the upper triangles of two dissimilarity matrices; permute the conditions of `y`.
///
/// Parameters
/// ----------
/// x, y : (n, n) float64 arrays
///     4 <= n <= 2048.
/// correlation : {"pearson", "spearman"}
///     Pearson correlations within 1e-10 are ties; Spearman is exact in integers.
/// permutations : int
///     Random permutations; all n! are taken when that is not more.
/// exact : bool
///     Take all n!, n <= 12.
/// two_sided : bool
///     Count correlations by their size.
/// seed : int
///     0 to 2**64 - 1, see `permutations`.
///
/// Returns
/// -------
/// dict
///     `r`; `p` = (exceeding + 1) / (permutations + 1), or exceeding / n! when exact; `exceeding`,
///     and `ties` among them, both with the identity when exact; `null_mean` (within 1e-3, some
///     1e-6 in practice; exact for Spearman with few conditions) and `null_max`, both without it.
///
/// Raises
/// ------
/// NumericalError
///     Fewer than 4 conditions, values that are not finite, or that are all equal.
/// UsageError
///     Options or shapes that do not fit, or too many conditions.
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

/// Test all pairs of two lists of dissimilarity matrices with the same permutations.
///
/// Parameters
/// ----------
/// xs, ys : (a, n * n) and (b, n * n) float64 arrays
///     One flat matrix per row.
/// n : int
///     Conditions.
/// correlation, permutations, exact, two_sided, seed
///     As in `rsa`, whose `r`, `p`, `exceeding` and `null_max` each pair gets.
///
/// Returns
/// -------
/// dict
///     Arrays (a, b); `p_family` is p against the largest correlation over all pairs.
///
/// Raises
/// ------
/// NumericalError, UsageError
///     As `rsa`.
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
