//! Every conversion between numpy arrays and slices; nothing large is copied.

use emo_core::dtype::Dtype;
use emo_core::kernels::basis::Vectors;
use emo_core::kernels::cross::CrossMoments;
use emo_core::kernels::moments::Moments;
use emo_core::kernels::rsa::{Grid, Outcome};
use emo_core::shard::write::TensorData;
use half::f16;
use numpy::{
    Element, IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyUntypedArray,
};
use numpy::{PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::usage;

/// A C-contiguous int32 vector.
pub(crate) fn labels<'py>(array: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray1<'py, i32>> {
    match array.extract::<PyReadonlyArray1<'py, i32>>() {
        Ok(labels) if labels.is_c_contiguous() => Ok(labels),
        _ => Err(refused(array, "labels", "a C-contiguous int32 vector [n]")),
    }
}

/// A C-contiguous float64 vector, where one is given.
pub(crate) fn scales<'py>(
    array: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<PyReadonlyArray1<'py, f64>>> {
    let Some(array) = array else { return Ok(None) };
    match array.extract::<PyReadonlyArray1<'py, f64>>() {
        Ok(scales) if scales.is_c_contiguous() => Ok(Some(scales)),
        _ => Err(refused(array, "scales", "a C-contiguous float64 vector [n]")),
    }
}

/// A C-contiguous float64 matrix with its number of rows and columns.
pub(crate) struct Matrix<'py> {
    array: PyReadonlyArray2<'py, f64>,
}

impl<'py> Matrix<'py> {
    pub(crate) fn new(array: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        match array.extract::<PyReadonlyArray2<'py, f64>>() {
            Ok(matrix) if matrix.is_c_contiguous() => Ok(Self { array: matrix }),
            _ => Err(refused(array, name, "a C-contiguous float64 matrix")),
        }
    }

    /// Rows and columns.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.array.shape()[0], self.array.shape()[1])
    }

    pub(crate) fn values(&self) -> PyResult<&[f64]> {
        Ok(self.array.as_slice()?)
    }
}

/// C-contiguous float32 or float64 matrices of one width.
pub(crate) struct Sets<'py> {
    sets: Vec<Set<'py>>,
    width: usize,
}

enum Set<'py> {
    Single(PyReadonlyArray2<'py, f32>),
    Double(PyReadonlyArray2<'py, f64>),
}

impl<'py> Sets<'py> {
    pub(crate) fn new(arrays: &[Bound<'py, PyAny>]) -> PyResult<Self> {
        let mut found = Self { sets: Vec::with_capacity(arrays.len()), width: 0 };
        for (index, array) in arrays.iter().enumerate() {
            let (set, width) = match (
                array.extract::<PyReadonlyArray2<'py, f32>>(),
                array.extract::<PyReadonlyArray2<'py, f64>>(),
            ) {
                (Ok(set), _) if set.is_c_contiguous() => {
                    let width = set.shape()[1];
                    (Set::Single(set), width)
                }
                (_, Ok(set)) if set.is_c_contiguous() => {
                    let width = set.shape()[1];
                    (Set::Double(set), width)
                }
                _ => {
                    return Err(refused(
                        array,
                        &format!("set {index}"),
                        "a C-contiguous float32 or float64 matrix",
                    ));
                }
            };
            if index > 0 && width != found.width {
                return Err(usage(
                    array.py(),
                    format!("set {index} has width {width}, set 0 has width {}", found.width),
                ));
            }
            found.width = width;
            found.sets.push(set);
        }
        Ok(found)
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn vectors(&self) -> PyResult<Vec<Vectors<'_>>> {
        self.sets.iter().map(Set::vectors).collect()
    }
}

impl Set<'_> {
    fn vectors(&self) -> PyResult<Vectors<'_>> {
        Ok(match self {
            Self::Single(set) => Vectors::Single(set.as_slice()?),
            Self::Double(set) => Vectors::Double(set.as_slice()?),
        })
    }
}

fn refused(array: &Bound<'_, PyAny>, name: &str, wanted: &str) -> PyErr {
    let found = match array.cast::<PyUntypedArray>() {
        Ok(found) => {
            let order = if found.is_c_contiguous() { "" } else { " and is not C-contiguous" };
            format!("has dtype {} and shape {:?}{order}", found.dtype(), found.shape())
        }
        Err(_) => format!("is a {}", array.get_type()),
    };
    usage(array.py(), format!("{name} must be {wanted}, it {found}"))
}

/// A tensor to write, borrowed from numpy.
pub(crate) enum Stored<'py> {
    Bits(PyReadonlyArrayDyn<'py, u16>),
    Half(PyReadonlyArrayDyn<'py, f16>),
    Single(PyReadonlyArrayDyn<'py, f32>),
    Integer(PyReadonlyArrayDyn<'py, i64>),
}

impl<'py> Stored<'py> {
    pub(crate) fn new(
        name: &str,
        dtype: &str,
        array: &Bound<'py, PyAny>,
    ) -> PyResult<(Dtype, Self)> {
        let stored = match dtype {
            "BF16" => borrow(array).map(|array| (Dtype::BF16, Self::Bits(array))),
            "F16" => borrow(array)
                .map(|array| (Dtype::F16, Self::Bits(array)))
                .or_else(|| borrow(array).map(|array| (Dtype::F16, Self::Half(array)))),
            "F32" => borrow(array).map(|array| (Dtype::F32, Self::Single(array))),
            "I64" => borrow(array).map(|array| (Dtype::I64, Self::Integer(array))),
            _ => {
                let message =
                    format!("dtype of {name:?} is {dtype:?}, it must be BF16, F16, F32 or I64");
                return Err(usage(array.py(), message));
            }
        };
        let wanted =
            "a C-contiguous array of uint16 (BF16), uint16 or float16 (F16), float32 or int64";
        stored.ok_or_else(|| refused(array, &format!("tensor {name:?} ({dtype})"), wanted))
    }

    pub(crate) fn data(&self, name: &str, dtype: Dtype) -> PyResult<TensorData<'_>> {
        let (bytes, shape): (&[u8], &[usize]) = match self {
            Self::Bits(array) => (bytemuck::cast_slice(array.as_slice()?), array.shape()),
            Self::Half(array) => (bytemuck::cast_slice(array.as_slice()?), array.shape()),
            Self::Single(array) => (bytemuck::cast_slice(array.as_slice()?), array.shape()),
            Self::Integer(array) => (bytemuck::cast_slice(array.as_slice()?), array.shape()),
        };
        let shape = shape.iter().map(|extent| *extent as u64).collect();
        Ok(TensorData { name: name.to_owned(), dtype, shape, bytes })
    }
}

fn borrow<'py, T: Element>(array: &Bound<'py, PyAny>) -> Option<PyReadonlyArrayDyn<'py, T>> {
    array.extract::<PyReadonlyArrayDyn<'py, T>>().ok().filter(|array| array.is_c_contiguous())
}

/// A vector as an array of the given shape.
pub(crate) fn shaped<'py, T: Element, const D: usize>(
    py: Python<'py>,
    values: Vec<T>,
    shape: [usize; D],
) -> PyResult<Bound<'py, PyAny>> {
    let flat: Bound<'py, PyArray1<T>> = values.into_pyarray(py);
    Ok(flat.reshape(shape.to_vec())?.into_any())
}

/// Moments as a dictionary of arrays; `shape` is that of every array but the counts.
pub(crate) fn moments_dict<const D: usize>(
    py: Python<'_>,
    moments: Moments,
    shape: [usize; D],
) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", moments.count.into_pyarray(py))?;
    dict.set_item("mean", shaped(py, moments.mean, shape)?)?;
    dict.set_item("m2", shaped(py, moments.m2, shape)?)?;
    dict.set_item("positive", shaped(py, moments.positive, shape)?)?;
    dict.set_item("negative", shaped(py, moments.negative, shape)?)?;
    Ok(dict)
}

/// Conditions of two square matrices of one size.
pub(crate) fn square(py: Python<'_>, x: (usize, usize), y: (usize, usize)) -> PyResult<usize> {
    if x.0 == x.1 && x == y {
        return Ok(x.0);
    }
    Err(usage(py, format!("x has shape {x:?} and y {y:?}, both must be (n, n)")))
}

/// Numbers of matrices of two lists, each a row of `n * n`.
pub(crate) fn flat(
    py: Python<'_>,
    xs: (usize, usize),
    ys: (usize, usize),
    n: usize,
) -> PyResult<[usize; 2]> {
    if Some(xs.1) == n.checked_mul(n) && xs.1 == ys.1 {
        return Ok([xs.0, ys.0]);
    }
    Err(usage(py, format!("xs has shape {xs:?} and ys {ys:?}, both must be (any, {n} * {n})")))
}

/// What a permutation test found, as a dictionary of numbers.
pub(crate) fn outcome_dict<'py>(
    py: Python<'py>,
    outcome: &Outcome,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("r", outcome.r)?;
    dict.set_item("p", outcome.p)?;
    dict.set_item("permutations", outcome.permutations)?;
    dict.set_item("exact", outcome.exact)?;
    dict.set_item("exceeding", outcome.exceeding)?;
    dict.set_item("ties", outcome.ties)?;
    dict.set_item("null_mean", outcome.null_mean)?;
    dict.set_item("null_max", outcome.null_max)?;
    Ok(dict)
}

/// What the tests of all pairs found; arrays of the given shape.
pub(crate) fn rsa_grid_dict(
    py: Python<'_>,
    grid: Grid,
    shape: [usize; 2],
) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("r", shaped(py, grid.r, shape)?)?;
    dict.set_item("p", shaped(py, grid.p, shape)?)?;
    dict.set_item("p_family", shaped(py, grid.p_family, shape)?)?;
    dict.set_item("null_max", shaped(py, grid.null_max, shape)?)?;
    dict.set_item("exceeding", shaped(py, grid.exceeding, shape)?)?;
    dict.set_item("permutations", grid.permutations)?;
    dict.set_item("exact", grid.exact)?;
    Ok(dict)
}

/// Cross-moments as a dictionary of arrays.
pub(crate) fn cross_dict(
    py: Python<'_>,
    found: CrossMoments,
    n_labels: usize,
    [dx, dy]: [usize; 2],
) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", found.count.into_pyarray(py))?;
    dict.set_item("mean_x", shaped(py, found.mean_x, [n_labels, dx])?)?;
    dict.set_item("mean_y", shaped(py, found.mean_y, [n_labels, dy])?)?;
    dict.set_item("xx", shaped(py, found.xx, [n_labels, dx, dx])?)?;
    dict.set_item("yy", shaped(py, found.yy, [n_labels, dy, dy])?)?;
    dict.set_item("xy", shaped(py, found.xy, [n_labels, dx, dy])?)?;
    Ok(dict)
}
