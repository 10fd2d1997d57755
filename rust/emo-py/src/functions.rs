//! One wrapper per kernel: convert, release the interpreter, call, convert back.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "signatures are Python's"
)]

use std::path::PathBuf;

use emo_core::kernels;
use emo_core::kernels::grouped::Units;
use emo_core::kernels::simd::Tier;
use emo_core::scan::{Io, Rows};
use emo_core::shard::{Shard, hash, write};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{
    Matrix, Stored, labels as label_array, moments_dict, scales as scale_array, shaped,
};
use crate::error::to_python;
use crate::run::run;

type Object<'py> = PyResult<Bound<'py, PyAny>>;
type Dict<'py> = PyResult<Bound<'py, PyDict>>;
type Tensor = (String, &'static str, Vec<u64>, u64, u64);
type Chunks = Option<Vec<Vec<String>>>;

#[pyfunction]
pub(crate) fn inspect_shard(py: Python<'_>, path: PathBuf) -> PyResult<Vec<Tensor>> {
    let shard = py.detach(|| Shard::open(&path)).map_err(|error| to_python(py, &error))?;
    let row = |t: &emo_core::shard::header::TensorInfo| {
        (t.name.clone(), t.dtype.name(), t.shape.clone(), t.begin, t.end)
    };
    Ok(shard.tensors().iter().map(row).collect())
}

#[pyfunction]
pub(crate) fn write_shard<'py>(
    py: Python<'py>,
    path: PathBuf,
    tensors: Vec<(String, String, Bound<'py, PyAny>)>,
) -> Dict<'py> {
    let held = tensors.iter().map(|(name, dtype, array)| Stored::new(name, dtype, array));
    let held = held.collect::<PyResult<Vec<_>>>()?;
    let named = tensors.iter().zip(&held);
    let data = named.map(|((name, _, _), (dtype, array))| array.data(name, *dtype));
    let data = data.collect::<PyResult<Vec<_>>>()?;
    let written = run(py, 0, |control| write::write_shard(&path, &data, control.cancel))?;
    let dict = PyDict::new(py);
    dict.set_item("bytes", written.bytes)?;
    dict.set_item("blake3", written.blake3)?;
    dict.set_item(
        "chunks",
        written.chunks.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    )?;
    Ok(dict)
}

#[pyfunction]
pub(crate) fn verify_shard(py: Python<'_>, path: PathBuf, blake3: &str) -> PyResult<()> {
    run(py, 0, |control| hash::verify_shard(&path, blake3, control.cancel))
}

#[pyfunction]
pub(crate) fn hash_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    run(py, 0, |control| hash::hash_file(&path, control.cancel))
}

#[pyfunction]
#[pyo3(signature = (path, tensor, start, stop, *, chunks=None))]
pub(crate) fn read_rows<'py>(
    py: Python<'py>,
    path: PathBuf,
    tensor: &str,
    start: usize,
    stop: usize,
    chunks: Option<Vec<String>>,
) -> Object<'py> {
    let (values, width) = run(py, 1, |control| {
        let chunks = chunks.map(|of_shard| vec![of_shard]);
        let rows = Rows::open(&[path], tensor, Io::Pread, chunks)?;
        Ok((kernels::read::read_rows(&rows, start..stop, control)?, rows.width()))
    })?;
    shaped(py, values, [stop - start, width])
}

#[pyfunction]
#[pyo3(signature = (shards, tensor, labels, n_labels, *, threads=0, io="auto", chunks=None))]
pub(crate) fn moments<'py>(
    py: Python<'py>,
    shards: Vec<PathBuf>,
    tensor: &str,
    labels: &Bound<'py, PyAny>,
    n_labels: usize,
    threads: usize,
    io: &str,
    chunks: Chunks,
) -> Dict<'py> {
    let held = label_array(labels)?;
    let labels = held.as_slice()?;
    let (moments, width) = run(py, threads, |control| {
        let rows = Rows::open(&shards, tensor, Io::from_name(io)?, chunks)?;
        Ok((kernels::moments::moments(&rows, labels, n_labels, control)?, rows.width()))
    })?;
    moments_dict(py, moments, [n_labels, width])
}

#[pyfunction]
#[pyo3(signature = (
    shards, tensor, labels, n_labels, weights, group_width, *,
    scales=None, threads=0, io="auto", chunks=None
))]
pub(crate) fn grouped_contributions<'py>(
    py: Python<'py>,
    shards: Vec<PathBuf>,
    tensor: &str,
    labels: &Bound<'py, PyAny>,
    n_labels: usize,
    weights: &Bound<'py, PyAny>,
    group_width: usize,
    scales: Option<&Bound<'py, PyAny>>,
    threads: usize,
    io: &str,
    chunks: Chunks,
) -> Dict<'py> {
    let (held, weights) = (label_array(labels)?, Matrix::new(weights, "weights")?);
    let (labels, (k, width), scales) = (held.as_slice()?, weights.shape(), scale_array(scales)?);
    let scales = scales.as_ref().map(|scales| scales.as_slice()).transpose()?;
    let units = Units { weights: weights.values()?, k, group: group_width, scales };
    let moments = run(py, threads, |control| {
        let rows = Rows::open(&shards, tensor, Io::from_name(io)?, chunks)?;
        rows.expect_width(width, "weights")?;
        kernels::grouped::grouped_contributions(&rows, labels, n_labels, units, control)
    })?;
    moments_dict(py, moments, [n_labels, k, width / group_width])
}

#[pyfunction]
#[pyo3(signature = (path, tensor, directions, *, transposed, threads=0))]
pub(crate) fn weight_product<'py>(
    py: Python<'py>,
    path: PathBuf,
    tensor: &str,
    directions: &Bound<'py, PyAny>,
    transposed: bool,
    threads: usize,
) -> Object<'py> {
    let directions = Matrix::new(directions, "directions")?;
    let ((k, _), v) = (directions.shape(), directions.values()?);
    let (product, m) = run(py, threads, |control| {
        let rows = Rows::open(&[path], tensor, Io::Auto, None)?;
        let m = if transposed { rows.n_rows() } else { rows.width() };
        Ok((kernels::weight::weight_product(&rows, v, k, transposed, control)?, m))
    })?;
    shaped(py, product, [k, m])
}

#[pyfunction]
#[pyo3(signature = (shards, tensor, vectors, *, threads=0, io="auto", chunks=None))]
pub(crate) fn project<'py>(
    py: Python<'py>,
    shards: Vec<PathBuf>,
    tensor: &str,
    vectors: &Bound<'py, PyAny>,
    threads: usize,
    io: &str,
    chunks: Chunks,
) -> Object<'py> {
    let vectors = Matrix::new(vectors, "vectors")?;
    let ((k, width), v) = (vectors.shape(), vectors.values()?);
    let (out, n) = run(py, threads, |control| {
        let rows = Rows::open(&shards, tensor, Io::from_name(io)?, chunks)?;
        rows.expect_width(width, "vectors")?;
        Ok((kernels::project::project(&rows, v, k, control)?, rows.n_rows()))
    })?;
    shaped(py, out, [n, k])
}

#[pyfunction]
pub(crate) fn build_info(py: Python<'_>) -> Dict<'_> {
    let tier = Tier::current().map_err(|error| to_python(py, &error))?;
    let dict = PyDict::new(py);
    dict.set_item("version", env!("CARGO_PKG_VERSION"))?;
    dict.set_item("simd", tier.name())?;
    dict.set_item("tiers", Tier::available_tiers().map(Tier::name).collect::<Vec<_>>())?;
    dict.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    Ok(dict)
}
