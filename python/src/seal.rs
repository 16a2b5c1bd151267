//! Sealing saved states with a key or a passphrase. What the sealed bytes say about themselves is in Python.

use pet_participant::seal::{open, open_first, seal, DoesNotOpen};
use pet_transport_blocking::core::crypto::{MasterKey, SnapshotKey, Stretching};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::SealError;

/// Makes the functions importable from the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_stretch, module)?)?;
    module.add_function(wrap_pyfunction!(_seal, module)?)?;
    module.add_function(wrap_pyfunction!(_unseal_first, module)?)?;
    module.add_function(wrap_pyfunction!(_unseal, module)?)
}

/// The key that follows from a passphrase: Argon2id.
#[pyfunction]
fn _stretch<'py>(
    py: Python<'py>,
    passphrase: &[u8],
    salt: [u8; 16],
    passes: u64,
    memory: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let stretching = Stretching { salt, passes, memory };
    let key = py.detach(|| stretching.key(passphrase));
    let key = key.map_err(|error| PyMemoryError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, key.as_bytes()))
}

/// Encrypts and authenticates bytes, together with what is said about them in the clear.
#[pyfunction]
fn _seal<'py>(py: Python<'py>, key: [u8; 32], head: &[u8], content: &[u8]) -> Bound<'py, PyBytes> {
    let key = MasterKey::new(key);
    let sealed = py.detach(|| seal(&key, head, content));
    PyBytes::new(py, &sealed)
}

/// Opens what `_seal` made.
#[pyfunction]
fn _unseal<'py>(
    py: Python<'py>,
    key: [u8; 32],
    head: &[u8],
    sealed: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = MasterKey::new(key);
    let content = py.detach(|| open(&key, head, sealed)).map_err(does_not_open)?;
    Ok(PyBytes::new(py, &content))
}

/// Opens what the first version made.
#[pyfunction]
fn _unseal_first<'py>(
    py: Python<'py>,
    key: [u8; 32],
    sealed: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = SnapshotKey::new(key);
    let content = py.detach(|| open_first(&key, sealed)).map_err(does_not_open)?;
    Ok(PyBytes::new(py, &content))
}

fn does_not_open(error: DoesNotOpen) -> PyErr {
    SealError::new_err(error.to_string())
}
