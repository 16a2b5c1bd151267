//! Global models: to lists, and to arrays.

use pet_transport_blocking::core::model::Model;
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyList};

/// After how many numbers other threads get their turn.
const NUMBERS_PER_TURN: usize = 1 << 14;

/// A list of floats or integers.
pub(crate) fn to_list<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyList>> {
    match model {
        Model::F32(weights) => list(py, weights, |&weight| f64::from(weight)),
        Model::F64(weights) => list(py, weights, |&weight| weight),
        Model::I32(weights) => list(py, weights, |&weight| weight),
        Model::I64(weights) => list(py, weights, |&weight| weight),
    }
}

fn list<'py, T, N: IntoPyObject<'py>>(
    py: Python<'py>,
    weights: &[T],
    number: impl Fn(&T) -> N,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for turn in weights.chunks(NUMBERS_PER_TURN) {
        for weight in turn {
            list.append(number(weight))?;
        }
        py.detach(|| ());
    }
    Ok(list)
}

/// A NumPy array of its own: one copy, no work per weight.
pub(crate) fn to_array<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyAny>> {
    let numpy = py.import(intern!(py, "numpy")).map_err(|error| {
        let wrong = PyImportError::new_err(
            "a global model as an array needs NumPy: install it (pip install numpy), or take the list",
        );
        wrong.set_cause(py, Some(error));
        wrong
    })?;
    let (dtype, bytes): (&str, &[u8]) = match model {
        Model::F32(weights) => ("f4", bytemuck::cast_slice(weights)),
        Model::F64(weights) => ("f8", bytemuck::cast_slice(weights)),
        Model::I32(weights) => ("i4", bytemuck::cast_slice(weights)),
        Model::I64(weights) => ("i8", bytemuck::cast_slice(weights)),
    };
    let memory = PyByteArray::new(py, bytes);
    numpy.call_method1(intern!(py, "frombuffer"), (memory, dtype))
}
