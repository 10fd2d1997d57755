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

/// List the tensors of a safetensors file in the order of their bytes.
///
/// The header is read strictly: no duplicate keys, plain names, checked products, bounded rank and
/// size, and tensors that cover the data exactly.
///
/// Parameters
/// ----------
/// path : path
///     The file.
///
/// Returns
/// -------
/// list of (name, dtype, shape, begin, end)
///     `dtype` as in the file (``"BF16"``); `begin` and `end` are absolute byte offsets.
///
/// Raises
/// ------
/// ArtifactError
///     The file is missing, truncated, or breaks one of the rules.
#[pyfunction]
pub(crate) fn inspect_shard(py: Python<'_>, path: PathBuf) -> PyResult<Vec<Tensor>> {
    let shard = py.detach(|| Shard::open(&path)).map_err(|error| to_python(py, &error))?;
    let row = |t: &emo_core::shard::header::TensorInfo| {
        (t.name.clone(), t.dtype.name(), t.shape.clone(), t.begin, t.end)
    };
    Ok(shard.tensors().iter().map(row).collect())
}

/// Write a safetensors file that appears whole or not at all.
///
/// The header is padded so that the data begin at byte 4096 (or a multiple). The file is written
/// under a passing name, hashed meanwhile, flushed, linked to `path` and the folder flushed.
///
/// Parameters
/// ----------
/// path : path
///     Where it will appear; a file that is there already is never replaced.
/// tensors : sequence of (name, dtype, array)
///     Written in this order. `dtype` is ``"BF16"`` (uint16 bit patterns), ``"F16"`` (float16 or
///     uint16), ``"F32"`` (float32) or ``"I64"`` (int64).
///
/// Returns
/// -------
/// dict
///     `bytes` of the file, its `blake3`, and `chunks`: the xxh3 of every 8 MiB of each tensor.
///
/// Raises
/// ------
/// UsageError
///     A name, dtype, array or shape that cannot be written.
/// ResourceError
///     The file exists, or the disk or the permissions do not allow it.
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

/// Check the header and the blake3 of a whole shard.
///
/// Parameters
/// ----------
/// path : path
///     The file.
/// blake3 : str
///     Its recorded hash, 64 hexadecimal digits.
///
/// Raises
/// ------
/// ArtifactError
///     The file is missing, its header is bad, or its hash is another one.
#[pyfunction]
pub(crate) fn verify_shard(py: Python<'_>, path: PathBuf, blake3: &str) -> PyResult<()> {
    run(py, 0, |control| hash::verify_shard(&path, blake3, control.cancel))
}

/// Blake3 of a file, 64 hexadecimal digits.
///
/// Parameters
/// ----------
/// path : path
///     Any regular file.
///
/// Returns
/// -------
/// str
///
/// Raises
/// ------
/// ArtifactError
///     The file is missing or is no regular file.
/// ResourceError
///     It cannot be read.
#[pyfunction]
pub(crate) fn hash_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    run(py, 0, |control| hash::hash_file(&path, control.cancel))
}

/// Read rows `start` to `stop` of a BF16, F16 or F32 matrix as single precision.
///
/// Parameters
/// ----------
/// path : path
///     A safetensors file.
/// tensor : str
///     Name of the matrix.
/// start, stop : int
///     Half-open range of rows.
/// chunks : sequence of str, optional
///     Recorded xxh3 of each 8 MiB of the tensor; those that hold a byte of the rows are compared.
///
/// Returns
/// -------
/// (stop - start, width) float32 array
///     Exact copies of the stored values.
///
/// Raises
/// ------
/// ArtifactError
///     The file or the tensor is missing, damaged or not a floating matrix, or a chunk differs.
/// UsageError
///     Rows beyond the end.
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

/// Count, mean, M2 and signs of every column, for the rows of each label.
///
/// ``mean = sum x / n``, ``m2 = sum (x - mean)^2``. Single-precision partial sums around a pilot
/// over at most 64 rows, double precision from there on: the relative error of `m2` stays below
/// 1e-6 for data like normal noise around any mean.
///
/// Parameters
/// ----------
/// shards : sequence of paths
///     Files that hold `tensor`, in row order.
/// tensor : str
///     Name of a BF16, F16 or F32 matrix, the same width and dtype everywhere.
/// labels : (n,) int32 array
///     Label of each row over all shards; -1 leaves the row out.
/// n_labels : int
///     Number of labels; larger than every label.
///
/// Returns
/// -------
/// dict
///     `count` (n_labels,); `mean`, `m2`, `positive` (rows above zero) and `negative` (rows below
///     zero), each (n_labels, width). A label without rows has zeros.
///
/// Raises
/// ------
/// ArtifactError
///     A shard is missing, damaged, truncated meanwhile, or fails a recorded chunk hash.
/// NumericalError
///     A used row holds a value that is not finite; the message names row and column.
/// UsageError
///     Labels or options that do not fit.
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

/// Moments of the contributions of groups of columns to directions.
///
/// ``c[n, k, g] = sum of x[n, j] * weights[k, j] over the columns j of group g``. Positive means
/// that the group pushes towards direction k when `weights` is the direction pulled back through
/// the output projection (`weight_product`).
///
/// Parameters
/// ----------
/// shards, tensor, labels, n_labels
///     As in `moments`.
/// weights : (k, width) float64 array
///     One row per direction.
/// group_width : int
///     Neighbouring columns of a group: 1 for neurons, the head width for heads.
/// scales : (n,) float64 array, optional
///     Multiplies every c[n]: the frozen factor of a norm that follows the projection.
///
/// Returns
/// -------
/// dict
///     As `moments`; `count` (n_labels,), the other arrays (n_labels, k, width // group_width).
///
/// Raises
/// ------
/// ArtifactError, NumericalError, UsageError
///     As `moments`; also when `group_width` does not divide the width.
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

/// Pull directions back through an output projection: ``beta = v @ W``.
///
/// Parameters
/// ----------
/// path : path
///     A safetensors file of the checkpoint.
/// tensor : str
///     W as (d, m), `nn.Linear`; or as (m, d) when `transposed`, GPT-2's `Conv1D`.
/// directions : (k, d) float64 array
///     One direction per row.
/// transposed : bool
///     Whether W is stored as (m, d).
///
/// Returns
/// -------
/// (k, m) float64 array
///     Weight of each of the m inputs for each direction.
///
/// Raises
/// ------
/// ArtifactError, NumericalError, UsageError
///     As `moments`.
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

/// Project every row on vectors: ``out[n, k] = <x[n], vectors[k]>``.
///
/// Sums are taken in double precision and rounded once.
///
/// Parameters
/// ----------
/// shards, tensor
///     As in `moments`.
/// vectors : (k, width) float64 array
///     One vector per row.
///
/// Returns
/// -------
/// (n, k) float32 array
///     Rows over all shards.
///
/// Raises
/// ------
/// ArtifactError, NumericalError, UsageError
///     As `moments`.
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

/// Version, instruction set, all sets of this processor and profile of this module.
///
/// Returns
/// -------
/// dict
///     `version`; `simd`, the one in use, and `tiers`, all that ``EMO_SIMD`` may name here; and
///     `profile`, ``release`` or ``debug``.
///
/// Raises
/// ------
/// UsageError
///     ``EMO_SIMD`` names instructions that this processor lacks.
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
