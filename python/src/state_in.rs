//! Reads saved states in any of the forms that programs keep them in.

use pet_transport_blocking::core::model::{DataType, Model};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use zeroize::{Zeroize, Zeroizing};

use crate::errors::ParticipantRestore;
use crate::{buffers, weights_in};

/// The state's bytes: of bytes or any buffer of them, or of integers from 0 to 255 in whatever has such.
///
/// # Errors
/// `ParticipantRestore` if it is something else.
pub(crate) fn read_state(state: &Bound<'_, PyAny>) -> PyResult<Zeroizing<Vec<u8>>> {
    read(state).map(Zeroizing::new).map_err(|error| {
        let py = state.py();
        let wrong = ParticipantRestore::new_err(
            "a saved state is bytes, or a list of integers from 0 to 255, as stop() or save() gave it",
        );
        wrong.set_cause(py, Some(error));
        wrong
    })
}

fn read(state: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = state.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if state.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("it is a str"));
    }
    let Some((_, buffer)) = buffers::open(state) else { return state.extract::<Vec<u8>>() };
    if matches!(buffer.format().to_bytes(), [b'B' | b'c'] | [b'@' | b'=', b'B' | b'c']) {
        return buffer.as_typed::<u8>()?.to_vec(state.py());
    }
    // The memory of wider integers is not the state: their values are.
    match weights_in::read(state, Some(DataType::I64))? {
        Model::I64(numbers) => bytes(numbers),
        Model::I32(numbers) => bytes(numbers),
        model => Err(PyTypeError::new_err(format!("it has {} numbers", model.data_type()))),
    }
}

fn bytes<T: Copy + Zeroize + TryInto<u8>>(numbers: Vec<T>) -> PyResult<Vec<u8>> {
    let numbers = Zeroizing::new(numbers);
    let bytes: Result<Vec<u8>, _> = numbers.iter().map(|&number| number.try_into()).collect();
    bytes.map_err(|_| PyValueError::new_err("it has integers that are not from 0 to 255"))
}

/// The bytes of a state, for the package's own use.
#[pyfunction]
#[pyo3(name = "_state_bytes")]
fn state_bytes<'py>(state: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(state.py(), &read_state(state)?))
}

/// Makes the function importable from the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(state_bytes, module)?)
}
