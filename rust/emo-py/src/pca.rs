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

#[pyfunction]
#[pyo3(signature = (x, pilot, vectors, *, threads=0))]
pub(crate) fn gram_product_array<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    pilot: &Bound<'py, PyAny>,
    vectors: &Bound<'py, PyAny>,
    threads: usize,
) -> Dict<'py> {
    let (x, pilot) = (Sets::new(std::slice::from_ref(x))?, Matrix::new(pilot, "pilot")?);
    let vectors = Matrix::new(vectors, "vectors")?;
    let source = Source::Array(x.vectors()?[0], x.width());
    let ((k, _), p, v) = (vectors.shape(), pilot.values()?, vectors.values()?);
    let pass = run(py, threads, |control| components::gram_product(source, p, v, k, control))?;
    pass_dict(py, pass, k)
}

#[pyfunction]
#[pyo3(signature = (
    shards, tensor, labels, pilot, vectors, *, threads=0, io="auto", chunks=None
))]
pub(crate) fn gram_product<'py>(
    py: Python<'py>,
    shards: Vec<PathBuf>,
    tensor: &str,
    labels: &Bound<'py, PyAny>,
    pilot: &Bound<'py, PyAny>,
    vectors: &Bound<'py, PyAny>,
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
        components::gram_product(Source::Stored(&rows, used), p, v, k, control)
    })?;
    pass_dict(py, pass, k)
}

fn pass_dict(py: Python<'_>, pass: Pass, k: usize) -> Dict<'_> {
    let (dict, width) = (PyDict::new(py), pass.sum.len());
    dict.set_item("product", shaped(py, pass.product, [k, width])?)?;
    dict.set_item("sum", shaped(py, pass.sum, [width])?)?;
    dict.set_item("square", shaped(py, pass.square, [width])?)?;
    dict.set_item("count", pass.count)?;
    dict.set_item("repeated", pass.repeated)?;
    Ok(dict)
}
