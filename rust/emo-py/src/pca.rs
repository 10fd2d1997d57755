//! The pass behind principal components, over a store's shards or an array in memory.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use std::path::PathBuf;

use emo_core::kernels::components::{self, Pass, Source};
use emo_core::scan::{Io, Rows};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{Matrix, Sets, labels as label_array, shaped};
use crate::run::run;

type Dict<'py> = PyResult<Bound<'py, PyDict>>;

/// Multiply vectors by the Gram matrix of an array's rows less a pilot, in one pass.
///
/// Parameters
/// ----------
/// x : (n, width) float32 or float64 array
///     Rows, all used.
/// pilot, vectors, columns
///     As in `gram_product`; the pilot is rounded for float32 rows only.
///
/// Returns
/// -------
/// dict
///     As from `gram_product`.
///
/// Raises
/// ------
/// NumericalError, UsageError
///     As `gram_product`.
#[pyfunction]
#[pyo3(signature = (x, pilot, vectors, *, columns=true, threads=0))]
pub(crate) fn gram_product_array<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    pilot: &Bound<'py, PyAny>,
    vectors: &Bound<'py, PyAny>,
    columns: bool,
    threads: usize,
) -> Dict<'py> {
    let (x, pilot) = (Sets::new(std::slice::from_ref(x))?, Matrix::new(pilot, "pilot")?);
    let vectors = Matrix::new(vectors, "vectors")?;
    let source = Source::Array(x.vectors()?[0], x.width());
    let ((k, _), p, v) = (vectors.shape(), pilot.values()?, vectors.values()?);
    let pass =
        run(py, threads, |control| components::gram_product(source, p, v, k, columns, control))?;
    pass_dict(py, pass, k)
}

/// Multiply vectors by the Gram matrix of a tensor's rows less a pilot, in one pass.
///
/// ``product[k] = sum_n (x[n] - pilot) <x[n] - pilot, vectors[k]>``, in single precision over at
/// most 64 rows or 256 columns and in double precision from there on.
///
/// Parameters
/// ----------
/// shards, tensor
///     As in `moments`.
/// labels : (n,) int32 array
///     0 for rows that count, -1 for those left out.
/// pilot : (1, width) float64 array
///     Subtracted from every row, rounded to single precision; close to the mean.
/// vectors : (k, width) float64 array
///     One vector per row, at least one.
/// columns : bool
///     Whether the columns are added up as well, which takes a tenth of the time.
///
/// Returns
/// -------
/// dict
///     ``product`` (k, width); ``sum`` and ``square`` (width,), of the rows less the pilot, or (0,);
///     ``count`` of rows, and how many are ``repeated``: their products with the first vectors
///     equal an earlier row's to the bit.
///
/// Raises
/// ------
/// ArtifactError, NumericalError, UsageError
///     As `moments`.
#[pyfunction]
#[pyo3(signature = (
    shards, tensor, labels, pilot, vectors, *, columns=true, threads=0, io="auto", chunks=None
))]
pub(crate) fn gram_product<'py>(
    py: Python<'py>,
    shards: Vec<PathBuf>,
    tensor: &str,
    labels: &Bound<'py, PyAny>,
    pilot: &Bound<'py, PyAny>,
    vectors: &Bound<'py, PyAny>,
    columns: bool,
    threads: usize,
    io: &str,
    chunks: Option<Vec<Vec<String>>>,
) -> Dict<'py> {
    let (labels, pilot) = (label_array(labels)?, Matrix::new(pilot, "pilot")?);
    let vectors = Matrix::new(vectors, "vectors")?;
    let (used, (k, width)) = (labels.as_slice()?, vectors.shape());
    let (p, v) = (pilot.values()?, vectors.values()?);
    let pass = run(py, threads, |control| {
        let rows = Rows::open(&shards, tensor, Io::from_name(io)?, chunks)?;
        rows.expect_width(width, "vectors")?;
        components::gram_product(Source::Stored(&rows, used), p, v, k, columns, control)
    })?;
    pass_dict(py, pass, k)
}

fn pass_dict(py: Python<'_>, pass: Pass, k: usize) -> Dict<'_> {
    let (dict, width, summed) = (PyDict::new(py), pass.product.len() / k, pass.sum.len());
    dict.set_item("product", shaped(py, pass.product, [k, width])?)?;
    dict.set_item("sum", shaped(py, pass.sum, [summed])?)?;
    dict.set_item("square", shaped(py, pass.square, [summed])?)?;
    dict.set_item("count", pass.count)?;
    dict.set_item("repeated", pass.repeated)?;
    Ok(dict)
}
