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

/// Means and centred cross-products of two tensors whose rows belong together.
///
/// For the rows of each label, with x and y relative to the label's means:
/// ``xx = X^T X``, ``yy = Y^T Y``, ``xy = X^T Y``, summed in double precision in a fixed order.
/// Memory is that of the result and does not grow with the number of rows.
///
/// Parameters
/// ----------
/// shards_x, tensor_x, shards_y, tensor_y
///     As in `moments`, for each of the two; row i of one belongs to row i of the other, wherever
///     either is cut into shards.
/// labels : (n,) int32 array
///     Label of each pair; -1 leaves it out.
/// n_labels : int
///     Number of labels; larger than every label.
/// chunks_x, chunks_y : list of list of str, optional
///     As `chunks`, for each of the two.
///
/// Returns
/// -------
/// dict
///     `count` (n_labels,), `mean_x` (n_labels, dx), `mean_y` (n_labels, dy), `xx`
///     (n_labels, dx, dx), `yy` (n_labels, dy, dy), `xy` (n_labels, dx, dy). A label without rows
///     has zeros.
///
/// Raises
/// ------
/// ArtifactError, NumericalError
///     As `moments`.
/// UsageError
///     Labels or options that do not fit, or another number of rows.
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
