//! Every mapping of errors to Python's exceptions.

use emo_core::error::{Error, Kind};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyModule};

pyo3::create_exception!(
    emo._core,
    InternalError,
    PyRuntimeError,
    "A bug of the native core; please report it."
);

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The exception of `emo.errors` that fits `error`, with its hint.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        Kind::Usage => "UsageError",
        Kind::Artifact => "ArtifactError",
        Kind::Resource => "ResourceError",
        Kind::Numerical => "NumericalError",
        Kind::Interrupted => return PyKeyboardInterrupt::new_err(()),
        Kind::Internal => return InternalError::new_err(error.to_string()),
    };
    build(py, class, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, class: &str, error: &Error) -> PyResult<PyErr> {
    let module =
        ERRORS.get_or_try_init(py, || PyModule::import(py, "emo.errors").map(Bound::unbind))?;
    let hint = [("hint", error.advice())].into_py_dict(py)?;
    let instance = module.bind(py).getattr(class)?.call((error.to_string(),), Some(&hint))?;
    Ok(PyErr::from_value(instance))
}

/// A `UsageError` made here, about an argument that never reaches the core.
pub(crate) fn usage(py: Python<'_>, message: String) -> PyErr {
    to_python(py, &Error::usage(message))
}
