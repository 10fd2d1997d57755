//! Cross-moments of two tensors.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use std::path::PathBuf;

use emo_core::kernels::cross;
use emo_core::scan::{Io, Rows};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{cross_dict, labels as label_array};
use crate::run::run;

type Chunks = Option<Vec<Vec<String>>>;

#[pyfunction]
#[pyo3(signature = (
    shards_x, tensor_x, shards_y, tensor_y, labels, n_labels, *,
    threads=0, io="auto", chunks_x=None, chunks_y=None
))]
pub(crate) fn cross_moments<'py>(
    py: Python<'py>,
    shards_x: Vec<PathBuf>,
    tensor_x: &str,
    shards_y: Vec<PathBuf>,
    tensor_y: &str,
    labels: &Bound<'py, PyAny>,
    n_labels: usize,
    threads: usize,
    io: &str,
    chunks_x: Chunks,
    chunks_y: Chunks,
) -> PyResult<Bound<'py, PyDict>> {
    let held = label_array(labels)?;
    let labels = held.as_slice()?;
    let (found, widths) = run(py, threads, |control| {
        let x = Rows::open(&shards_x, tensor_x, Io::from_name(io)?, chunks_x)?;
        let y = Rows::open(&shards_y, tensor_y, Io::from_name(io)?, chunks_y)?;
        let found = cross::cross_moments(&x, &y, labels, n_labels, control)?;
        Ok((found, [x.width(), y.width()]))
    })?;
    cross_dict(py, found, n_labels, widths)
}
