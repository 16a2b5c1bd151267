//! Gives global models as lists and as arrays.

use pet_transport_blocking::core::model::Model;
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice};

/// After how many numbers other threads get their turn.
const NUMBERS_PER_TURN: usize = 1 << 14;
/// The same for numbers that are only copied.
const COPIES_PER_TURN: usize = 1 << 19;

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
    let empty = |dtype| numpy.call_method1(intern!(py, "empty"), (model.len(), dtype));
    match model {
        Model::F32(weights) => fill(empty("f4")?, weights),
        Model::F64(weights) => fill(empty("f8")?, weights),
        Model::I32(weights) => fill(empty("i4")?, weights),
        Model::I64(weights) => fill(empty("i8")?, weights),
    }
}

/// Copies weights into an array of the same type and length, a piece at a time.
fn fill<'py, T: Element>(array: Bound<'py, PyAny>, weights: &[T]) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let mut start: isize = 0;
    for piece in weights.chunks(COPIES_PER_TURN) {
        let end = start.saturating_add_unsigned(piece.len());
        let slice = array.get_item(PySlice::new(py, start, end, 1))?;
        PyBuffer::<T>::get(&slice)?.copy_from_slice(py, piece)?;
        start = end;
        py.detach(|| ());
    }
    Ok(array)
}
